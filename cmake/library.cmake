# libquartet as others use it: shared and static, headers, pkg-config, CMake package, man page.
#
#     cmake --build BUILD --target libquartet && cmake --install BUILD --prefix DIR --component library
#
# Symbols: all of src/ is compiled with hidden visibility; only what the public headers declare is seen. The static
# library is one object in which hidden names have become local ones, so that they cannot meet the application's.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(library_layers base packet topic record session store client lib)
set(library_objects "")
foreach(layer ${library_layers})
  list(APPEND library_objects $<TARGET_OBJECTS:${layer}>)
endforeach()
# Of net/ the library needs the threads of the store alone.
list(APPEND library_objects "$<FILTER:$<TARGET_OBJECTS:net>,INCLUDE,/(bell|local_store|store_work|thread)\\.c\\.o$>")

set(library_script ${CMAKE_SOURCE_DIR}/cmake/libquartet.map)
add_library(quartet_shared SHARED ${library_objects})
set_target_properties(quartet_shared PROPERTIES
  OUTPUT_NAME quartet SOVERSION ${PROJECT_VERSION_MAJOR} VERSION ${PROJECT_VERSION}
  LINKER_LANGUAGE C LINK_DEPENDS ${library_script} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
target_link_options(quartet_shared PRIVATE
  -Wl,--version-script=${library_script} -Wl,--no-undefined -Wl,--as-needed)
target_link_libraries(quartet_shared PRIVATE PkgConfig::LMDB PkgConfig::XXHASH PkgConfig::CRYPTO Threads::Threads)

set(library_archive ${CMAKE_BINARY_DIR}/lib/libquartet.a)
set(library_whole ${CMAKE_BINARY_DIR}/lib/libquartet.o)
add_custom_command(OUTPUT ${library_archive}
  COMMAND ${CMAKE_LINKER} -r -o ${library_whole} ${library_objects}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden --remove-section=.gnu.lto_* --remove-section=.gnu.debuglto_*
          ${library_whole}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${library_archive}
  COMMAND ${CMAKE_AR} qcs ${library_archive} ${library_whole}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${library_whole}
  DEPENDS ${library_objects} COMMAND_EXPAND_LISTS VERBATIM COMMENT "Linking the static library lib/libquartet.a")
add_custom_target(quartet_static ALL DEPENDS ${library_archive})
add_dependencies(quartet_static ${library_layers} net)
add_custom_target(libquartet DEPENDS quartet_shared quartet_static)

# Relative, so that an installed tree may be moved.
file(RELATIVE_PATH library_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" QUARTET_PREFIX_FROM_PC "${library_to_prefix}")
configure_file(cmake/quartet.pc.in ${CMAKE_BINARY_DIR}/quartet.pc @ONLY)
configure_package_config_file(cmake/quartet-config.cmake.in ${CMAKE_BINARY_DIR}/quartet-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/quartet
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/quartet-config-version.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS quartet_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(FILES ${library_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(FILES include/quartet/quartet.h include/quartet/core.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/quartet COMPONENT library)
install(FILES ${CMAKE_BINARY_DIR}/quartet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
install(FILES ${CMAKE_BINARY_DIR}/quartet-config.cmake ${CMAKE_BINARY_DIR}/quartet-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/quartet COMPONENT library)
install(FILES docs/libquartet.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3 COMPONENT library)
install(TARGETS quartetd quartet RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)
install(FILES docs/quartetd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT programs)
install(FILES docs/quartet.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT programs)

# The examples, and with them the header in the hands of a user. examples/sqlite.c needs SQLite.
pkg_check_modules(SQLITE IMPORTED_TARGET sqlite3)
file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
foreach(example ${examples})
  get_filename_component(name ${example} NAME_WE)
  if(SQLITE_FOUND OR NOT name STREQUAL sqlite)
    add_executable(example_${name} ${example})
    target_include_directories(example_${name} PRIVATE include)
    target_link_libraries(example_${name} PRIVATE quartet_shared)
  endif()
endforeach()
if(TARGET example_sqlite)
  target_link_libraries(example_sqlite PRIVATE PkgConfig::SQLITE)
endif()
