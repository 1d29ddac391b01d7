#pragma once

#include <cstdint>

#include "base/json.h"
#include "text/bpe_trainer.h"

// The files of a tokenizer like DeepSeek-V3's, of any size.
namespace dsv3 {

/// Tokens beside those of BPE: BOS, EOS and padding, ids 0 to 2, and at the end those of
/// Fill-in-Middle and the roles of a conversation.
inline constexpr int64_t kDeepseekSpecialTokens = 8;

/// tokenizer.json: ids 0 to 2 are <｜begin▁of▁sentence｜>, <｜end▁of▁sentence｜> and <｜▁pad▁｜>,
/// special; then the tokens of `bpe`; then, as in DeepSeek-V3's file, <｜fim▁hole｜>,
/// <｜fim▁begin｜>, <｜fim▁end｜>, <｜User｜> and <｜Assistant｜>. DeepSeek-V3's pre-tokenizer,
/// ByteLevel decoder.
Json deepseek_tokenizer_json(const LearnedBpe& bpe);
/// tokenizer_config.json: which tokens those are, BOS in front of prompts, DeepSeek-V3's chat
/// template (of conversations without tools).
Json deepseek_tokenizer_config();

}  // namespace dsv3
