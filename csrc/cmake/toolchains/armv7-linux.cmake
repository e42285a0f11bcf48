# 32-bit ARM Linux with NEON and hard float (Raspberry Pi 2 and later, i.MX, Cortex-A7 to A17), with Debian's or
# Ubuntu's cross compiler:
#
#   apt-get install g++-arm-linux-gnueabihf qemu-user
#   cmake -S . -B build/armv7 -DSATN_FAST_BUILD_TESTS=ON \
#     -DCMAKE_TOOLCHAIN_FILE=csrc/cmake/toolchains/armv7-linux.cmake
#   cmake --build build/armv7 && ctest --test-dir build/armv7    # the tests run under qemu
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
# The compiler's default is ARMv7 without NEON. Compilers note that GCC 7 changed how some vectors are passed; nothing
# here is older.
set(CMAKE_C_FLAGS_INIT "-march=armv7-a -mfpu=neon -mfloat-abi=hard -Wno-psabi")
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT}")

# Headers, libraries and packages of the target only; programs of the machine that builds.
set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

# A Cortex-A8 is the oldest that has NEON: what runs on it runs on all of them.
find_program(SATN_FAST_QEMU_ARM NAMES qemu-arm qemu-arm-static)
if(SATN_FAST_QEMU_ARM)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${SATN_FAST_QEMU_ARM};-cpu;cortex-a8;-L;/usr/arm-linux-gnueabihf")
endif()
