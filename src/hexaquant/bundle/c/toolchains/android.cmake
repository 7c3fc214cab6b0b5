# Android on arm64: the NDK brings its own toolchain file; ANDROID_NDK_HOME says where the NDK lies.
if(NOT DEFINED ENV{ANDROID_NDK_HOME})
  message(FATAL_ERROR "set ANDROID_NDK_HOME to the folder of the Android NDK")
endif()
set(ANDROID_ABI arm64-v8a)
set(ANDROID_PLATFORM android-30)
include($ENV{ANDROID_NDK_HOME}/build/cmake/android.toolchain.cmake)
