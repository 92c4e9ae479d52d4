# Writes OUTPUT: the schemas of results/schema/ as text in a source file. FILES is a list of *.schema.json.
set(entries "")
foreach(file IN LISTS FILES)
  cmake_path(GET file FILENAME name)
  string(REGEX REPLACE "\\.schema\\.json$" "" name "${name}")
  file(READ "${file}" text)
  string(APPEND entries "      {\"${name}\", R\"schema(${text})schema\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Made by embed_schemas.cmake from results/schema/.
#include \"schema_check.hpp\"

namespace ternbench {

const std::vector<embedded_schema>& embedded_schemas() {
  static const std::vector<embedded_schema> schemas{
${entries}  };
  return schemas;
}

}  // namespace ternbench
")
