# Flags, libraries and the two functions every folder uses: deem_library and deem_test.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(pair ARCHIVE:libarchive JPEG:libjpeg SPNG:spng WEBP:libwebp ZSTD:libzstd ZLIB:zlib XXHASH:libxxhash
        NETTLE:nettle UTF8PROC:libutf8proc LMDB:lmdb YAML:yaml-0.1 SENTENCEPIECE:sentencepiece CHAFA:chafa
        OPENBLAS:openblas)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 name)
  list(GET pair 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
endforeach()
find_path(GIF_INCLUDE gif_lib.h REQUIRED)
find_library(GIF_LIBRARY gif REQUIRED)

add_library(deem_flags INTERFACE)
target_include_directories(deem_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(deem_flags INTERFACE _GNU_SOURCE DEEM_VERSION="${PROJECT_VERSION}")
target_compile_options(deem_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wstrict-prototypes;-Wmissing-prototypes;-Wpointer-arith;-Wcast-align;-Wcast-qual;-Wwrite-strings;-Wformat=2;-Wundef;-Wvla;-Wimplicit-fallthrough;-Wnull-dereference;-Wdouble-promotion;-ffp-contract=off>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-ffp-contract=off>)
if(WERROR)
  target_compile_options(deem_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
endif()
if(FUZZ)
  target_compile_options(deem_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=fuzzer-no-link,address,undefined;-fno-sanitize-recover=all>)
  target_link_options(deem_flags INTERFACE -fsanitize=address,undefined)
endif()
target_link_libraries(deem_flags INTERFACE Threads::Threads m)

# deem_library(core SOURCES a.c b.c LINK PkgConfig::ZSTD deem_core)
function(deem_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(deem_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(deem_${name} PUBLIC deem_flags ${ARG_LINK})
endfunction()

pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)
# deem_test(core.pool core/test_pool.c LINK deem_core LABELS unit [ARGS ...])
function(deem_test name source)
  cmake_parse_arguments(ARG "" "" "LINK;LABELS;ARGS" ${ARGN})
  string(REPLACE "." "_" target test_${name})
  add_executable(${target} ${source})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${target} PRIVATE ${ARG_LINK} deem_test_support PkgConfig::CMOCKA)
  # tests compare floats with doubles; options of a source come last
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -Wno-double-promotion)
  target_compile_definitions(${target} PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    TEST_GOLDENS="${CMAKE_SOURCE_DIR}/tests/goldens" TEST_DEEM="$<TARGET_FILE:deem>")
  add_test(NAME ${name} COMMAND ${target} ${ARG_ARGS})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77 TIMEOUT 300)
endfunction()
