# Install rules: the headers, and a package that find_package(tern) reads on any architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(tern_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/tern")
install(
  TARGETS tern
  EXPORT tern-targets
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILE_SET headers_x86_64 DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILE_SET headers_aarch64 DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT tern-targets NAMESPACE tern:: DESTINATION "${tern_package_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/scripts/cmake/tern-config.cmake.in"
                              "${PROJECT_BINARY_DIR}/tern-config.cmake"
                              INSTALL_DESTINATION "${tern_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tern-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_SOURCE_DIR}/scripts/gdb/tern_gdb.py" DESTINATION "${CMAKE_INSTALL_DATADIR}/tern")
install(FILES "${PROJECT_BINARY_DIR}/tern-config.cmake" "${PROJECT_BINARY_DIR}/tern-config-version.cmake"
        DESTINATION "${tern_package_dir}")
