// What `run` and `duet` share: the time, the host, the directory that a session leaves, the chosen names.
#pragma once

#include <filesystem>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "bench/harness/host_facts.hpp"
#include "listing.hpp"

namespace ternbench {

/// "2026-01-02T03:04:05Z", or "20260102T030405Z" for names.
[[nodiscard]] std::string utc_now();
[[nodiscard]] std::string utc_stamp();

/// Our own facts, until a bench binary has told its own: the same machine unless a launcher emulates another.
[[nodiscard]] tern_bench::host_facts host_of(const bench_binary& binary);

/// `asked`, or what the host is called by default: its CPU model.
[[nodiscard]] std::string machine_of(const std::string& asked, const tern_bench::host_facts& host);

/// Makes <out>/<utc>-<arch>-<machine><suffix>. Throws tool_error when it exists.
[[nodiscard]] std::filesystem::path make_directory(const std::filesystem::path& out,
                                                   const tern_bench::host_facts& host,
                                                   const std::string& machine, const std::string& suffix);

/// The expression of --filter, or of the option of that name; nothing for an empty one. Throws tool_error.
[[nodiscard]] std::optional<std::regex> parse_filter(const std::string& filter,
                                                     const std::string& option = "--filter");

/// A fact of a host or a build as text; "unknown" where it is null.
[[nodiscard]] std::string fact_text(const ordered_json& value);

/// Host facts whose change makes one measurement of two machines, as "kernel: 6.1 -> 6.2". Both in the form of a manifest.
[[nodiscard]] std::vector<std::string> host_changes(const ordered_json& before, const ordered_json& after);

/// "Intel(R) Xeon(R) @ 2.0GHz" -> "intel-r-xeon-r-2-0ghz": for directory names.
[[nodiscard]] std::string slug(const std::string& text);

/// Takes the end of a file of lines that was cut off while it was written, so that the next line does not run into it.
void drop_cut_line(const std::filesystem::path& file);

/// The facts of a binary's build for a manifest. `context` is null when it was never heard.
[[nodiscard]] ordered_json binary_record(const bench_binary& binary, const std::string& hash,
                                         const ordered_json& context);

}  // namespace ternbench
