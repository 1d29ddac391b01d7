#include "cli/document_options.h"

namespace dsv3::cli {

void add_document_options(CLI::App& command, training::DocumentOptions& options) {
  command.add_option("--field", options.field, "member of a JSON object that is the text")
      ->type_name("NAME")
      ->capture_default_str();
  command.add_flag("--jsonl", options.json_lines, "all files are JSON lines, whatever their names");
  command
      .add_option("--document-separator", options.separator,
                  "line between the documents of a text file; default: a file is one document")
      ->type_name("LINE");
}

}  // namespace dsv3::cli
