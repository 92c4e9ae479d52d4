// JSON files: strict reading with one-line errors, and writing that never leaves half a file behind.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace ternbench {

using json = nlohmann::json;
using ordered_json = nlohmann::ordered_json;

/// Parses strict JSON: no NaN or Infinity, no duplicate keys, nothing after the value, and no nesting that would use up the stack.
/// Throws tool_error whose line begins with `label`.
[[nodiscard]] ordered_json parse_json(std::string_view text, const std::string& label);

/// The line (from 1) on which the value of a JSON pointer begins, for a text that parse_json takes. Of a pointer that leads
/// nowhere, the line of the last value on its way.
[[nodiscard]] std::size_t line_of(std::string_view text, std::string_view pointer);

/// `text` with a space in place of each control character: what stands in a file may be shown on a terminal, which obeys those.
[[nodiscard]] std::string printable(std::string text);
/// The same for every text in `value`, however deep; keys stay.
void make_printable(ordered_json& value);

/// The text at `key`, or nothing where there is none.
[[nodiscard]] std::string text_at(const ordered_json& object, const char* key);

/// A key as a step of a JSON pointer: "a/b" is "a~1b". Keys of ours have no "~".
[[nodiscard]] std::string escape_step(std::string key);

/// Reads and parses a file. Throws tool_error.
[[nodiscard]] ordered_json read_json(const std::filesystem::path& file);

/// The bytes of a file. Throws tool_error.
[[nodiscard]] std::string read_file(const std::filesystem::path& file);

/// Writes through a temporary file beside it and a rename: a reader sees the old file or the new one, and a link stays a link. Devices
/// and pipes are written to as they are. Throws tool_error.
void write_file(const std::filesystem::path& file, std::string_view content);
void write_json(const std::filesystem::path& file, const ordered_json& value);

/// `value` as JSON; in one line without an indent. Bytes that are not UTF-8, such as the last words of a process that crashed may hold
/// and names of files, become U+FFFD: no measurement is lost for them.
[[nodiscard]] std::string to_text(const ordered_json& value, int indent = -1);

}  // namespace ternbench
