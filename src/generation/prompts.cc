#include "generation/prompts.h"

#include <algorithm>

#include "base/error.h"

namespace dsv3::generation {
namespace {

/// As `_prepare_attention_mask_for_generation` of transformers 5.12: tokens equal to the pad token
/// are padding, unless it is an eos token too (or the one that stands in for it).
std::vector<std::vector<int64_t>> infer_mask(const GenerationRequest& request) {
  const auto& config = request.config;
  const auto& pad = config.pad_token_id;
  const bool known = pad && std::find(config.eos_token_id.begin(), config.eos_token_id.end(),
                                      *pad) == config.eos_token_id.end();
  std::vector<std::vector<int64_t>> mask;
  for (const auto& row : request.input_ids) {
    auto& mask_row = mask.emplace_back(row.size(), 1);
    if (!known) continue;
    for (size_t i = 0; i < row.size(); ++i) mask_row[i] = row[i] != *pad;
  }
  return mask;
}

/// How many columns of padding are on the left.
size_t left_padding(size_t row, const std::vector<int64_t>& mask) {
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0 && mask[i] != 1) {
      fail("attention_mask: row {} has {} in column {}; it must be 0 or 1", row, mask[i], i);
    }
  }
  const auto first = std::find(mask.begin(), mask.end(), 1);
  if (first == mask.end()) fail("prompt {} is empty: all of its tokens are padding", row);
  if (mask.back() == 0) {
    fail(
        "right-padded prompt in row {} of input_ids: generation goes on from the last column; pad "
        "on the left",
        row);
  }
  if (const auto hole = std::find(first, mask.end(), 0); hole != mask.end()) {
    fail(
        "prompt in row {} of input_ids has padding in its midst, in column {}; only padding on the "
        "left is possible",
        row, hole - mask.begin());
  }
  return static_cast<size_t>(first - mask.begin());
}

/// The length of padded prompt and new tokens at which generation ends, the model's context aside.
int64_t configured_max_length(const GenerationConfig& config, int64_t width, size_t index) {
  constexpr int64_t kDefaultNewTokens = 20;
  if (config.max_new_tokens) return width + *config.max_new_tokens;
  if (!config.max_length) return width + kDefaultNewTokens;
  if (width >= *config.max_length) {
    fail(
        "prompt {} has {} tokens, but max_length, which counts them, is {}: raise it or set "
        "max_new_tokens",
        index, width, *config.max_length);
  }
  return *config.max_length;
}

}  // namespace

std::vector<Prompt> prepare_prompts(const GenerationRequest& request, const CausalLm& model) {
  if (request.prompts.empty() == request.input_ids.empty()) {
    fail("a generation request needs either prompts or input_ids; {} given",
         request.prompts.empty() ? "neither is" : "both are");
  }
  if (request.prefill_chunk < 1)
    fail("prefill_chunk is {}; it must be at least 1", request.prefill_chunk);

  std::vector<Prompt> prompts;
  if (request.input_ids.empty()) {
    if (!request.attention_mask.empty())
      fail("attention_mask belongs to input_ids; prompts have no padding");
    for (const auto& tokens : request.prompts) prompts.push_back({tokens, tokens});
  } else {
    const auto mask = request.attention_mask.empty() ? infer_mask(request) : request.attention_mask;
    if (mask.size() != request.input_ids.size()) {
      fail("attention_mask has {} rows, input_ids has {}", mask.size(), request.input_ids.size());
    }
    const size_t width = request.input_ids[0].size();
    for (size_t i = 0; i < mask.size(); ++i) {
      const auto& row = request.input_ids[i];
      if (row.size() != width) {
        fail("input_ids: row {} has {} columns, row 0 has {}; pad on the left, or give prompts", i,
             row.size(), width);
      }
      if (mask[i].size() != width) {
        fail("attention_mask: row {} has {} columns, input_ids has {}", i, mask[i].size(), width);
      }
      if (width == 0) fail("prompt {} is empty", i);
      const size_t padding = left_padding(i, mask[i]);
      prompts.push_back({{row.begin() + static_cast<std::ptrdiff_t>(padding), row.end()}, row});
    }
  }

  for (size_t i = 0; i < prompts.size(); ++i) {
    Prompt& p = prompts[i];
    const int64_t length = static_cast<int64_t>(p.tokens.size());
    const int64_t width = static_cast<int64_t>(p.padded_row.size());
    if (length == 0) fail("prompt {} is empty; begin with bos_token_id at least", i);
    for (const int64_t token : p.padded_row) {
      if (token < 0 || token >= model.vocab_size()) {
        fail("prompt {}: token id {} is outside the vocabulary of {}", i, token,
             model.vocab_size());
      }
    }
    if (length > model.max_length()) {
      fail("prompt {} has {} tokens, more than the model's context of {}", i, length,
           model.max_length());
    }
    p.max_length = std::min(configured_max_length(request.config, width, i),
                            width + model.max_length() - length);
  }
  return prompts;
}

}  // namespace dsv3::generation

namespace dsv3 {

std::vector<std::vector<int64_t>> padded_sequences(const GenerationRequest& request,
                                                   const GenerationResult& result) {
  const GenerationConfig& config = request.config;
  const auto& prompts = request.input_ids.empty() ? request.prompts : request.input_ids;
  const size_t returned = static_cast<size_t>(config.num_return_sequences);
  size_t prompt_width = 0, new_width = 0;
  for (const auto& p : prompts) prompt_width = std::max(prompt_width, p.size());
  for (const auto& s : result.sequences) new_width = std::max(new_width, s.tokens.size());
  if (result.sequences.size() != prompts.size() * returned) {
    fail("a result of {} sequences does not belong to a request for {}", result.sequences.size(),
         prompts.size() * returned);
  }

  std::optional<int64_t> fill = config.pad_token_id;
  if (!fill && !config.eos_token_id.empty()) fill = config.eos_token_id[0];
  const std::optional<int64_t> left_fill = fill;
  // Beam search of the reference takes a pad token 0 for "none", and fills with -1 where there is
  // no eos.
  if (config.num_beams > 1) {
    if (config.eos_token_id.empty()) {
      fill = -1;
    } else if (fill == 0) {
      fill = config.eos_token_id[0];
    }
  }

  std::vector<std::vector<int64_t>> rows;
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const auto& prompt = prompts[i / returned];
    const auto& tokens = result.sequences[i].tokens;
    const size_t left = prompt_width - prompt.size(), right = new_width - tokens.size();
    if ((left > 0 && !left_fill) || (right > 0 && !fill)) {
      fail("sequences of different lengths need pad_token_id or eos_token_id to be padded with");
    }
    auto& row = rows.emplace_back(left, left_fill.value_or(0));
    row.insert(row.end(), prompt.begin(), prompt.end());
    row.insert(row.end(), tokens.begin(), tokens.end());
    row.insert(row.end(), right, fill.value_or(0));
  }
  return rows;
}

}  // namespace dsv3
