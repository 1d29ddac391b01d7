#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

// The key-value part of a GGUF file.
namespace dsv3 {

/// A list of strings in two pieces of memory, however many they are: a vocabulary has 100,000.
class GgufStrings {
 public:
  GgufStrings() = default;
  GgufStrings(std::initializer_list<std::string_view> all) {
    for (const std::string_view text : all) push_back(text);
  }
  void reserve(size_t count) { ends_.reserve(count); }
  void push_back(std::string_view text) {
    text_ += text;
    ends_.push_back(text_.size());
  }
  size_t size() const { return ends_.size(); }
  bool empty() const { return ends_.empty(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(text_).substr(begin, ends_[i] - begin);
  }
  bool operator==(const GgufStrings&) const = default;

 private:
  std::string text_;
  std::vector<size_t> ends_;  // of each string, in text_
};

/// A value with exactly the type that the file gives it: `uint32_t{5}` is written as UINT32.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                               std::string, uint64_t, int64_t, double,  // and lists of all of them:
                               std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                               std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>,
                               std::vector<float>, std::vector<bool>, GgufStrings,
                               std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;

/// For messages: "the integer 5 (UINT32)", "a string", "a list of 3 strings".
std::string describe(const GgufValue& value);

/// Keys and values in the order of the file. Each getter throws Error naming the file, the key,
/// what was expected and what was found: the plain ones also for a key that is absent, those called
/// find_* only for a wrong type.
class GgufMetadata {
 public:
  using Entry = std::pair<std::string, GgufValue>;

  /// `where` names the file in messages.
  explicit GgufMetadata(std::string where = "GGUF metadata") : where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const std::vector<Entry>& entries() const { return entries_; }
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /// nullptr if there is no such key.
  const GgufValue* find(std::string_view key) const;
  /// Adds at the end, or replaces the value in its place.
  void set(std::string key, GgufValue value);
  void erase(std::string_view key);

  /// The references and pointers stay valid until something is set or erased.
  const std::string& string(std::string_view key) const;
  int64_t integer(std::string_view key) const;  ///< of any integer type
  double number(std::string_view key) const;    ///< of any floating or integer type
  bool boolean(std::string_view key) const;
  const GgufStrings& strings(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  std::vector<bool> booleans(std::string_view key) const;

  const std::string* find_string(std::string_view key) const;
  std::optional<int64_t> find_integer(std::string_view key) const;
  std::optional<double> find_number(std::string_view key) const;
  std::optional<bool> find_boolean(std::string_view key) const;
  const GgufStrings* find_strings(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_integers(std::string_view key) const;
  std::optional<std::vector<double>> find_numbers(std::string_view key) const;
  std::optional<std::vector<bool>> find_booleans(std::string_view key) const;

 private:
  [[noreturn]] void fail_missing(std::string_view key, const char* expected) const;
  [[noreturn]] void fail_type(std::string_view key, const char* expected,
                              const GgufValue& found) const;

  std::string where_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // key to place in entries_
};

}  // namespace dsv3
