// Texts without a place to split, and rows of all that tokenizers treat apart: time may grow as
// n log n. Four times the text then takes four to seven times as long (more where it outgrows the
// processor's caches), but sixteen times as long where time grows with the square.

#include <gtest/gtest.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <ctime>

#include "base/json.h"
#include "dsv3/tokenizer.h"
#include "text/test_files.h"

namespace dsv3 {
namespace {

const std::filesystem::path kMini =
    std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-text/mini-tokenizer.json";

constexpr double kMaxGrowth = 9;

double processor_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::string repeated(std::string_view unit, size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

double seconds_to_encode(const Tokenizer& tokenizer, std::string_view text) {
  const double begin = processor_seconds();
  tokenizer.encode(text);
  return processor_seconds() - begin;
}

// Memory that is given back to the system after each text, and taken again for the next, costs page
// faults: on some virtual machines more than encoding does, and only from some size of text on.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

void expect_no_growth(const Tokenizer& tokenizer) {
  keep_freed_memory();
  for (const std::string_view unit :
       {"a",       " ",      "\n",        "\t ", "7",     "😀",          "的",          "é",
        "e\u0301", "\u0E01", "A",         "_",   "<",     "▁",          "\xFF",        "\x01",
        "ab",      "aab",    "a 😀\n1的_", "'s",  "<|x|>", "<｜User｜>", "\u0323\u0301"}) {
    SCOPED_TRACE(unit);
    const std::string small = repeated(unit, 100'000), large = repeated(unit, 400'000);
    // Other work on the machine only ever adds time: the best of some tries tells.
    double small_time = seconds_to_encode(tokenizer, small), large_time = 1e9;
    for (int round = 0; round < 8 && large_time > kMaxGrowth * small_time; ++round) {
      small_time = std::min(small_time, seconds_to_encode(tokenizer, small));
      large_time = std::min(large_time, seconds_to_encode(tokenizer, large));
    }
    EXPECT_LE(large_time, kMaxGrowth * small_time);
    EXPECT_LT(large_time, 1.0);
  }
}

Tokenizer load(const Json& json) {
  const TempFolder folder;
  return Tokenizer::from_file(folder.write("tokenizer.json", json.dump()));
}

/// A vocabulary that doubles up on rows of a letter, so that merging has much to do.
Json doubling_model(const std::string& space) {
  Json vocab = Json::object();
  Json merges = Json::array();
  const auto add = [&](const std::string& token) { vocab.emplace(token, vocab.size()); };
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte));
  for (const std::string& unit : {std::string("a"), std::string("b"), std::string("😀"), space}) {
    add(unit);
    std::string token = unit;
    for (int i = 0; i < 6; ++i, token += token) {
      add(token + token);
      merges.push_back({token, token});
    }
  }
  return {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"byte_fallback", true}};
}

TEST(WorstCaseTest, ByteLevelOfDeepseek) { expect_no_growth(Tokenizer::from_file(kMini)); }

TEST(WorstCaseTest, ByteLevelWithoutPlacesToSplit) {
  Json json = read_json_file(kMini);
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}};
  expect_no_growth(load(json));
}

TEST(WorstCaseTest, ByteLevelWithPatternsOfItsOwn) {
  Json json = read_json_file(kMini);
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  expect_no_growth(load(json));
}

TEST(WorstCaseTest, MetaspaceWithByteFallback) {
  for (const bool split : {false, true}) {
    Json json = {{"model", doubling_model("▁")}};
    json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"split", split}};
    expect_no_growth(load(json));
  }
}

TEST(WorstCaseTest, NormalizersAndFlagsOfAddedTokens) {
  Json json = {{"model", doubling_model("▁")}};
  json["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [
      {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": true, "strip_right": true},
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})");
  json["added_tokens"] = Json::parse(R"([
      {"id": 600, "content": "<|x|>", "lstrip": true, "rstrip": true, "normalized": false, "special": true},
      {"id": 601, "content": "aab", "single_word": true, "normalized": true},
      {"id": 602, "content": "<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<!", "normalized": false}])");
  expect_no_growth(load(json));
}

TEST(WorstCaseTest, Tiktoken) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string model;
  int rank = 0;
  const auto add = [&](std::string_view bytes) {
    uint32_t bits = 0;
    int count = 0;
    std::string text;
    for (const char c : bytes) {
      bits = bits << 8 | static_cast<uint8_t>(c);
      for (count += 8; count >= 6;) text += kDigits[bits >> (count -= 6) & 63];
    }
    if (count > 0) text += kDigits[bits << (6 - count) & 63];
    text.resize((text.size() + 3) / 4 * 4, '=');
    model += fmt::format("{} {}\n", text, rank++);
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const std::string_view unit : {"a", "A", " ", "\n", "😀", "的"}) {
    for (size_t size = unit.size() == 1 ? 2 : 1; size <= 32; size *= 2) {
      add(repeated(unit, size * unit.size()));
    }
  }
  const TempFolder folder;
  folder.write("tiktoken.model", model);
  expect_no_growth(Tokenizer::from_file(folder.path()));
}

}  // namespace
}  // namespace dsv3
