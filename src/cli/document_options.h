#pragma once

#include <CLI/CLI.hpp>

#include "training/documents.h"

namespace dsv3::cli {

/// --field, --jsonl and --document-separator: how commands that read texts find documents in them.
void add_document_options(CLI::App& command, training::DocumentOptions& options);

}  // namespace dsv3::cli
