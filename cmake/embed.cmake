# weft_embed(TARGET NAME PATTERNS): compiles files into TARGET as byte arrays, found at run time by file name
# through `const struct weft_embedded weft_embedded_NAME[]` (engine/base/embed.h), ended by a NULL name.
function(weft_embed target name patterns)
  set(globs "")
  foreach(p ${patterns})
    list(APPEND globs ${CMAKE_SOURCE_DIR}/${p})
  endforeach()
  file(GLOB files CONFIGURE_DEPENDS ${globs})
  set(out ${CMAKE_BINARY_DIR}/generated/embed_${name}.c)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DNAME=${name} "-DFILES=${files}" -P ${CMAKE_SOURCE_DIR}/cmake/embed_write.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/embed_write.cmake VERBATIM)
  get_target_property(type ${target} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    target_sources(${target} PRIVATE ${out})
  endif()
endfunction()
