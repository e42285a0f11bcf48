# 64-bit ARM Linux (Raspberry Pi 3 to 5, Jetson, phones' Linux), with Debian's or Ubuntu's cross compiler:
#
#   apt-get install g++-aarch64-linux-gnu qemu-user
#   cmake -S . -B build/aarch64 -DSATN_FAST_BUILD_TESTS=ON \
#     -DCMAKE_TOOLCHAIN_FILE=csrc/cmake/toolchains/aarch64-linux.cmake
#   cmake --build build/aarch64 && ctest --test-dir build/aarch64    # the tests run under qemu
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Headers, libraries and packages of the target only; programs of the machine that builds.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

find_program(SATN_FAST_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static)
if(SATN_FAST_QEMU_AARCH64)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${SATN_FAST_QEMU_AARCH64};-L;/usr/aarch64-linux-gnu")
endif()
