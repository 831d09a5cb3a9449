# What is installed, in three components, each of which is a Debian package too:
#   runtime      libqslab0      libqslab.so.0, libqslab-malloc.so
#   tool         qslab          the qslab command
#   development  libqslab-dev   headers, libqslab.a, CMake package, qslab.pc, manual
include(CMakePackageConfigHelpers)
set(packaging ${PROJECT_SOURCE_DIR}/tools/packaging)
set(package_of_runtime libqslab0)
set(package_of_tool qslab)
set(package_of_development libqslab-dev)
set(cmake_folder ${CMAKE_INSTALL_LIBDIR}/cmake/qslab)

# ---- libraries, headers, the tool ------------------------------------------------
set_target_properties(qslab-static PROPERTIES EXPORT_NAME static)
set(libraries qslab)
if(TARGET qslab-malloc)
	set_target_properties(qslab-malloc PROPERTIES EXPORT_NAME malloc)
	list(APPEND libraries qslab-malloc)
endif()
install(TARGETS ${libraries} EXPORT qslab-targets
	LIBRARY COMPONENT runtime NAMELINK_COMPONENT development)
install(TARGETS qslab-static EXPORT qslab-targets ARCHIVE COMPONENT development)
install(TARGETS qslab-tool RUNTIME COMPONENT tool)
install(FILES ${packaging}/qslab.bash RENAME qslab
	DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions COMPONENT tool)
install(DIRECTORY include/qslab DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
	FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

# ---- CMake package, pkg-config -----------------------------------------------------
install(EXPORT qslab-targets NAMESPACE qslab:: DESTINATION ${cmake_folder} COMPONENT development)
configure_package_config_file(${packaging}/qslab-config.cmake.in ${CMAKE_BINARY_DIR}/qslab-config.cmake
	INSTALL_DESTINATION ${cmake_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/qslab-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/qslab-config.cmake ${CMAKE_BINARY_DIR}/qslab-config-version.cmake
	DESTINATION ${cmake_folder} COMPONENT development)

set(pc_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH QSLAB_PC_PREFIX /prefix/${pc_folder} /prefix)
string(REGEX REPLACE "/$" "" QSLAB_PC_PREFIX "${QSLAB_PC_PREFIX}")
set(QSLAB_PC_PRIVATE "${QSLAB_STATIC_URCU} -lpthread -ldl")
if(QSLAB_JEMALLOC STREQUAL shared)
	string(APPEND QSLAB_PC_PRIVATE " -ljemalloc -lstdc++ -lm")
endif()
configure_file(${packaging}/qslab.pc.in ${CMAKE_BINARY_DIR}/qslab.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/qslab.pc DESTINATION ${pc_folder} COMPONENT development)

# ---- manual: a page for every name in its NAME section -----------------------------
file(GLOB pages CONFIGURE_DEPENDS ${packaging}/man/*.[1-9])
foreach(page ${pages})
	get_filename_component(file ${page} NAME)
	string(REGEX MATCH "[0-9]$" section ${file})
	set(component development)
	if(section EQUAL 1)
		set(component tool)
	endif()
	set(folder ${CMAKE_INSTALL_MANDIR}/man${section})
	install(FILES ${page} DESTINATION ${folder} COMPONENT ${component})
	file(STRINGS ${page} names REGEX "^[a-zA-Z_., ]+ [\\]- ")
	string(REGEX REPLACE " [\\]- .*" "" names "${names}")
	string(REPLACE ", " ";" names "${names}")
	foreach(name ${names})
		if(NOT file STREQUAL "${name}.${section}")
			file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/man/${name}.${section} CONTENT ".so man${section}/${file}\n")
			install(FILES ${CMAKE_BINARY_DIR}/man/${name}.${section} DESTINATION ${folder} COMPONENT ${component})
		endif()
	endforeach()
endforeach()

# ---- licences ----------------------------------------------------------------------
file(READ LICENSE ours)
file(READ THIRD-PARTY.md theirs)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/copyright CONTENT "${ours}\n${theirs}" @ONLY)
foreach(component runtime tool development)
	set(folder ${CMAKE_INSTALL_DATAROOTDIR}/doc/${package_of_${component}})
	install(FILES ${CMAKE_BINARY_DIR}/copyright LICENSE THIRD-PARTY.md DESTINATION ${folder} COMPONENT ${component})
endforeach()
install(FILES include/qslab/README.md DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/libqslab-dev COMPONENT development)

# ---- Debian packages: cpack -G DEB, from a build configured with -DCMAKE_INSTALL_PREFIX=/usr ------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME qslab)
set(CPACK_PACKAGE_CONTACT "the qslab authors <qslab@invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "memory allocator with deferred free over RCU grace periods")
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime tool development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
foreach(component runtime tool development)
	string(TOUPPER ${component} upper)
	set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package_of_${component}})
endforeach()
set(same "libqslab0 (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "libqslab.so.0 for programs that use its API, libqslab-malloc.so to preload.")
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOL_PACKAGE_DEPENDS "${same}")
set(CPACK_COMPONENT_TOOL_DESCRIPTION "The qslab command: runs programs over libqslab-malloc.so, shows where their memory is.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${same}, liburcu-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers, static library, CMake and pkg-config files, and the manual.")
include(CPack)
