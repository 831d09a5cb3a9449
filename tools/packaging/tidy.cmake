# Run by cpack before it packs, as Debian has them: folders are for everybody to read, whatever the umask; manual pages and the
# change log are compressed; static libraries have no debug information, which would name the folder they were built in.
file(GLOB_RECURSE files LIST_DIRECTORIES ON ${CPACK_TEMPORARY_DIRECTORY}/*)
foreach(file ${files})
	if(IS_DIRECTORY ${file} AND NOT IS_SYMLINK ${file})
		file(CHMOD ${file} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
	elseif(file MATCHES "/share/man/man[1-9]/[^/]*[1-9]$|/share/doc/[^/]*/changelog$")
		execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
	elseif(file MATCHES "[.]a$")
		execute_process(COMMAND ${CPACK_STRIP_COMMAND} --strip-debug --enable-deterministic-archives ${file} COMMAND_ERROR_IS_FATAL ANY)
	endif()
endforeach()
