#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace dsv3::cli {

/// Help texts within 100 columns: what an option takes, its default and its description, without
/// the exclusions and markers that CLI11 adds.
std::shared_ptr<CLI::FormatterBase> help_formatter();

}  // namespace dsv3::cli
