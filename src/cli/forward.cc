// `dsv3 forward`: one call of a model, tensors in and tensors out.
#include <memory>
#include <vector>

#include "checkpoint/safetensors.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/forward_call.h"

namespace dsv3::cli {
namespace {

struct Options {
  std::string model, call, inputs, output;
  EngineOptions engine;
};

int run(const Options& options) {
  apply_processor_options(options.engine);
  const Tensors results = run_call(options.model, read_call(options.call),
                                   read_tensors(options.inputs), options.engine.load_options());
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : results) {
    tensors.push_back({name, tensor});
    note(fmt::format("{}: {} {}", name, dtype_name(tensor.dtype()), shape_string(tensor.shape())));
  }
  write_safetensors(options.output, tensors);
  return kDone;
}

}  // namespace

void add_forward_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("forward", "Make one call of a model: tensors in, tensors out");
  command->add_option("MODEL", options->model, "Folder with config.json and safetensors")
      ->required();
  command
      ->add_option("--call", options->call,
                   "JSON object with 'class' (DeepseekV3ForCausalLM ...), 'method' (forward, "
                   "backward, generate), 'kwargs' and perhaps 'chunks' and 'optimizer'")
      ->required();
  command
      ->add_option("--inputs", options->inputs,
                   "safetensors file with tensors named as the arguments")
      ->required();
  command->add_option("--output", options->output, "safetensors file to write the results to")
      ->required();
  add_engine_options(*command, options->engine, true);
  command->footer(
      "Arguments and results have the names that transformers gives them; tests/golden/README.md "
      "describes\n"
      "them all. This is how to compare dsv3 with a reference.\n\n"
      "Example:\n"
      "  dsv3 forward tests/golden/causal_basic/model --call tests/golden/causal_basic/call.json "
      "\\\n"
      "      --inputs tests/golden/causal_basic/inputs.safetensors --output out.safetensors");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace dsv3::cli
