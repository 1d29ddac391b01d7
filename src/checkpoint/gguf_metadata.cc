#include "checkpoint/gguf_metadata.h"

#include <limits>
#include <type_traits>

#include "base/error.h"

namespace dsv3 {
namespace {

constexpr const char* kTypeNames[] = {"UINT8",   "INT8", "UINT16", "INT16",  "UINT32", "INT32",
                                      "FLOAT32", "BOOL", "STRING", "UINT64", "INT64",  "FLOAT64"};
constexpr size_t kScalarTypes = std::size(kTypeNames);
static_assert(std::variant_size_v<GgufValue> == 2 * kScalarTypes);

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <typename T>
constexpr bool kIsNumber = kIsInteger<T> || std::is_floating_point_v<T>;

template <typename T>
struct ElementOf {
  using Type = void;
};
template <typename T>
struct ElementOf<std::vector<T>> {
  using Type = T;
};

/// int64_t, which the larger half of UINT64 does not fit into, or double.
template <typename To, typename From>
std::optional<To> convert(From value) {
  if constexpr (std::is_same_v<From, uint64_t> && std::is_same_v<To, int64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  }
  return static_cast<To>(value);
}

template <typename To, typename From>
constexpr bool kConverts = std::is_same_v<To, bool>      ? std::is_same_v<From, bool>
                           : std::is_same_v<To, int64_t> ? kIsInteger<From>
                                                         : kIsNumber<From>;

template <typename To>
std::optional<To> scalar_as(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::optional<To> {
        if constexpr (kConverts<To, std::decay_t<decltype(v)>>) return convert<To>(v);
        return std::nullopt;
      },
      value);
}

template <typename To>
std::optional<std::vector<To>> list_as(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::optional<std::vector<To>> {
        using Element = typename ElementOf<std::decay_t<decltype(v)>>::Type;
        if constexpr (kConverts<To, Element>) {
          std::vector<To> all;
          all.reserve(v.size());
          for (const Element element : v) {
            const std::optional<To> converted = convert<To>(element);
            if (!converted) return std::nullopt;
            all.push_back(*converted);
          }
          return all;
        }
        return std::nullopt;
      },
      value);
}

}  // namespace

std::string describe(const GgufValue& value) {
  const char* type = kTypeNames[value.index() % kScalarTypes];
  return std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return std::string("a string");
        } else if constexpr (std::is_same_v<T, bool>) {
          return fmt::format("the boolean {}", v);
        } else if constexpr (kIsNumber<T>) {
          return fmt::format("the {} {} ({})", kIsInteger<T> ? "integer" : "number", v, type);
        } else {
          return fmt::format("a list of {} {}", v.size(), type);
        }
      },
      value);
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto at = index_.find(std::string(key));
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto [at, added] = index_.try_emplace(key, entries_.size());
  if (added) {
    entries_.emplace_back(std::move(key), std::move(value));
  } else {
    entries_[at->second].second = std::move(value);
  }
}

void GgufMetadata::erase(std::string_view key) {
  const auto at = index_.find(std::string(key));
  if (at == index_.end()) return;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(at->second));
  index_.clear();
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].first, i);
}

void GgufMetadata::fail_missing(std::string_view key, const char* expected) const {
  fail("{}: no key '{}', expected {}", where_, key, expected);
}

void GgufMetadata::fail_type(std::string_view key, const char* expected,
                             const GgufValue& found) const {
  fail("{}: key '{}': expected {}, found {}", where_, key, expected, describe(found));
}

// Each pair of getters differs in the type and its name only.
#define DSV3_GETTERS(Result, name, expected, convert)                           \
  std::optional<Result> GgufMetadata::find_##name(std::string_view key) const { \
    const GgufValue* value = find(key);                                         \
    if (value == nullptr) return std::nullopt;                                  \
    std::optional<Result> result = convert(*value);                             \
    if (!result) fail_type(key, expected, *value);                              \
    return result;                                                              \
  }                                                                             \
  Result GgufMetadata::name(std::string_view key) const {                       \
    std::optional<Result> result = find_##name(key);                            \
    if (!result) fail_missing(key, expected);                                   \
    return *std::move(result);                                                  \
  }
DSV3_GETTERS(int64_t, integer, "an integer", scalar_as<int64_t>)
DSV3_GETTERS(double, number, "a number", scalar_as<double>)
DSV3_GETTERS(bool, boolean, "a boolean", scalar_as<bool>)
DSV3_GETTERS(std::vector<int64_t>, integers, "a list of integers", list_as<int64_t>)
DSV3_GETTERS(std::vector<double>, numbers, "a list of numbers", list_as<double>)
DSV3_GETTERS(std::vector<bool>, booleans, "a list of booleans", list_as<bool>)
#undef DSV3_GETTERS

#define DSV3_GETTERS(Result, name, expected)                            \
  const Result* GgufMetadata::find_##name(std::string_view key) const { \
    const GgufValue* value = find(key);                                 \
    if (value == nullptr) return nullptr;                               \
    const Result* result = std::get_if<Result>(value);                  \
    if (result == nullptr) fail_type(key, expected, *value);            \
    return result;                                                      \
  }                                                                     \
  const Result& GgufMetadata::name(std::string_view key) const {        \
    const Result* result = find_##name(key);                            \
    if (result == nullptr) fail_missing(key, expected);                 \
    return *result;                                                     \
  }
DSV3_GETTERS(std::string, string, "a string")
DSV3_GETTERS(GgufStrings, strings, "a list of strings")
#undef DSV3_GETTERS

}  // namespace dsv3
