# Writes OUTPUT: the files of page/ as text in a source file. FILES is a list of them.
set(definitions "")
foreach(file IN LISTS FILES)
  cmake_path(GET file FILENAME name)
  string(MAKE_C_IDENTIFIER "${name}" name)
  file(READ "${file}" text)
  string(APPEND definitions "const std::string_view ${name} = R\"page(${text})page\";\n")
endforeach()
file(WRITE "${OUTPUT}" "// Made by embed_page.cmake from page/.
#include \"report.hpp\"

namespace ternbench::page {

${definitions}
}  // namespace ternbench::page
")
