# What `cmake --install` puts down: the library, its header, a CMake package and a pkg-config file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(satn_frontend_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/satn_frontend)

install(TARGETS satn_frontend EXPORT satn_frontend_targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/csrc/include/satn_frontend.h TYPE INCLUDE)
install(EXPORT satn_frontend_targets
  NAMESPACE satn::
  FILE satn_frontend_targets.cmake
  DESTINATION ${satn_frontend_package_dir})

# What a C compiler must add to link the static library: the libraries that only the C++ compiler adds by itself. The
# parts of the compiler's own run time (libgcc and the like) are left out: both compilers know them.
set(satn_frontend_cxx_runtime ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(REMOVE_ITEM satn_frontend_cxx_runtime ${CMAKE_C_IMPLICIT_LINK_LIBRARIES} c)
list(FILTER satn_frontend_cxx_runtime EXCLUDE REGEX "gcc|clang|\\.(o|obj|a)$|/")
list(REMOVE_DUPLICATES satn_frontend_cxx_runtime)

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/satn_frontend-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend-config.cmake
  INSTALL_DESTINATION ${satn_frontend_package_dir}
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface, and so it is part of the shared library's name too.
write_basic_package_version_file(
  ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend-config-version.cmake
  COMPATIBILITY SameMinorVersion)
set_target_properties(satn_frontend PROPERTIES
  EXPORT_NAME frontend
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend-config-version.cmake
  DESTINATION ${satn_frontend_package_dir})

# pkg-config finds the prefix from where the file lies, so that an installed tree can be moved. Only an absolute library
# directory ties it to one place.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(satn_frontend_pc_prefix ${CMAKE_INSTALL_PREFIX})
  set(satn_frontend_pc_libdir ${CMAKE_INSTALL_LIBDIR})
else()
  file(RELATIVE_PATH satn_frontend_pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  string(REGEX REPLACE "/$" "" satn_frontend_pc_prefix "\${pcfiledir}/${satn_frontend_pc_prefix}")
  set(satn_frontend_pc_libdir \${prefix}/${CMAKE_INSTALL_LIBDIR})
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(satn_frontend_pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
else()
  set(satn_frontend_pc_includedir \${prefix}/${CMAKE_INSTALL_INCLUDEDIR})
endif()
if(BUILD_SHARED_LIBS)
  set(satn_frontend_pc_definitions " -DSATN_FRONTEND_SHARED")
endif()
list(TRANSFORM satn_frontend_cxx_runtime PREPEND -l OUTPUT_VARIABLE satn_frontend_pc_libs_private)
string(JOIN " " satn_frontend_pc_libs_private ${satn_frontend_pc_libs_private})
configure_file(${CMAKE_CURRENT_LIST_DIR}/satn_frontend.pc.in ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/satn_frontend.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
