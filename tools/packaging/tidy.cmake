# Run by cpack before it packs, as Debian has them: manual pages and the change log are compressed, static libraries have no
# debug information, which would name the folder they were built in.
file(GLOB_RECURSE files ${CPACK_TEMPORARY_DIRECTORY}/*)
foreach(file ${files})
	if(file MATCHES "/share/man/man[1-9]/[^/]*[1-9]$|/share/doc/[^/]*/changelog$")
		execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
	elseif(file MATCHES "[.]a$")
		execute_process(COMMAND ${CPACK_STRIP_COMMAND} --strip-debug --enable-deterministic-archives ${file} COMMAND_ERROR_IS_FATAL ANY)
	endif()
endforeach()
