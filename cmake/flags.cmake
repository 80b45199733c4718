# Warnings, hardening and sanitizers: the same for every target.
option(QUARTET_WERROR "Treat warnings as errors" ON)
set(QUARTET_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them")

add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64)
add_compile_options(
  -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla
  -Wpointer-arith -Wundef -Wformat=2 -Wno-gnu-zero-variadic-macro-arguments
  -fstack-protector-strong -fno-omit-frame-pointer -fvisibility=hidden)
if(QUARTET_WERROR)
  add_compile_options(-Werror)
endif()
if(QUARTET_SANITIZE)
  add_compile_options(-fsanitize=${QUARTET_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${QUARTET_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
# The broker is compiled as a whole, too: its hot path goes through seven layers. All others link the same objects
# without that, as quickly as before.
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT QUARTET_SANITIZE)
  set(QUARTET_WHOLE_COMPILE -flto=auto -ffat-lto-objects)
  set(QUARTET_WHOLE_LINK -flto=auto -O2)
  add_link_options(-fno-lto) # else the compiler begins anew for each of them
endif()
add_link_options($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie> -Wl,-z,relro,-z,now)
