# Microcontrollers with a Cortex-M core that has an FPU, with Debian's, Ubuntu's or Arm's GNU toolchain:
#
#   apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm
#   cmake -S . -B build/cortex-m4 -DSATN_FAST_CORE=cortex-m4 -DSATN_FAST_BUILD_TESTS=ON \
#     -DCMAKE_TOOLCHAIN_FILE=csrc/cmake/toolchains/arm-none-eabi.cmake
#   cmake --build build/cortex-m4 && ctest --test-dir build/cortex-m4    # the test runs under qemu
#
# SATN_FAST_CORE is what GCC's -mcpu takes: cortex-m4, cortex-m7, cortex-m33, cortex-m55; cortex-m7+nofp.dp for an M7
# whose FPU has single precision only.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
# A program needs the board's linker script, which CMake's check of the compilers has not.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

set(SATN_FAST_CORE cortex-m4 CACHE STRING "Core to build for, as in -mcpu")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SATN_FAST_CORE)
set(CMAKE_C_FLAGS_INIT "-mcpu=${SATN_FAST_CORE} -mthumb -mfloat-abi=hard -ffunction-sections -fdata-sections")
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT} -fno-exceptions -fno-rtti")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--gc-sections")
# The library's CMakeLists.txt asks for more where the time is spent.
set(CMAKE_C_FLAGS_RELEASE "-Os -DNDEBUG" CACHE STRING "Flags of Release builds in C")
set(CMAKE_CXX_FLAGS_RELEASE "-Os -DNDEBUG" CACHE STRING "Flags of Release builds in C++")

# In software on most of these cores.
set(SATN_FRONTEND_FLOAT64 OFF CACHE BOOL "Build float64 arithmetic too (precision = float64)")

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Arm's MPS boards, as qemu has them and csrc/bare_metal/mps.ld describes them.
set(satn_fast_boards cortex-m4 mps2-an386 cortex-m7 mps2-an500 cortex-m55 mps3-an547)
string(REGEX REPLACE "\\+.*" "" satn_fast_plain_core "${SATN_FAST_CORE}")
list(FIND satn_fast_boards "${satn_fast_plain_core}" satn_fast_board)
find_program(SATN_FAST_QEMU_SYSTEM_ARM NAMES qemu-system-arm)
if(SATN_FAST_QEMU_SYSTEM_ARM AND NOT satn_fast_board EQUAL -1)
  math(EXPR satn_fast_board "${satn_fast_board} + 1")
  list(GET satn_fast_boards ${satn_fast_board} satn_fast_board)
  # One nanosecond per instruction: the program's clock then counts instructions, 40 per tick on the MPS2 boards (25 MHz)
  # and 31.25 on the MPS3 (32 MHz).
  set(CMAKE_CROSSCOMPILING_EMULATOR
    "${SATN_FAST_QEMU_SYSTEM_ARM};-machine;${satn_fast_board};-nographic;-monitor;none;-serial;none;-icount;shift=0;-semihosting-config;enable=on,target=native;-kernel")
endif()
