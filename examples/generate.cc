// A program that embeds dsv3: loads a model, streams a continuation of its argument, and looks at
// the logits.
//
//   example_generate models/stories "The dragon was"
#include <algorithm>
#include <cstdio>

#include "dsv3/error.h"
#include "dsv3/generation.h"
#include "dsv3/model.h"
#include "dsv3/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }
  try {
    const auto model = dsv3::DeepseekV3ForCausalLM::from_pretrained(argv[1]);
    const auto tokenizer = dsv3::Tokenizer::from_file(argv[1]);
    const std::vector<int64_t> ids = tokenizer.encode_prompt(argv[2]);

    dsv3::GenerationRequest request;
    request.config = dsv3::GenerationConfig::from_folder(argv[1], model.config());
    request.config.max_new_tokens = 40;
    request.prompts = {ids};
    request.make_text_decoder = dsv3::text_decoder(tokenizer);
    request.on_text = [](int64_t, std::string_view text) {
      std::printf("%.*s", static_cast<int>(text.size()), text.data());
      std::fflush(stdout);
      return true;
    };
    const dsv3::GenerationResult result = dsv3::generate(model, request);
    std::printf("\n(%zu tokens, %s)\n", result.sequences[0].tokens.size(),
                std::string(dsv3::finish_reason_name(result.sequences[0].finish_reason)).c_str());

    // The same model called as transformers calls it.
    const auto length = static_cast<int64_t>(ids.size());
    const dsv3::ModelOutput out =
        model.forward({.input_ids = dsv3::Tensor::from(std::span<const int64_t>(ids), {1, length}),
                       .logits_to_keep = 1});
    const auto logits = out.logits.as<float>();
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    std::printf("most likely next token: %s\n",
                tokenizer.decode(std::vector<int64_t>{best}).c_str());
  } catch (const dsv3::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
