#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_types.h"

namespace dsv3 {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the data is used as it lies in the file");

constexpr uint32_t kMaxDims = 4;
constexpr uint32_t kArrayType = 9;
// What a key with a value, or the description of a tensor, takes at least.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;

/// A key or name, of which the file may say anything, for a message.
std::string quoted(std::string_view text) {
  constexpr size_t kShown = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

/// Reads one thing after the other; whatever the file says, nothing beyond its end.
class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  uint64_t position() const { return at_; }
  uint64_t left() const { return file_.size() - at_; }

  /// `what` says in a message within what the file ended.
  template <typename T>
  T read(const char* what, std::string_view name = {}) {
    T value;
    std::memcpy(&value, take(sizeof value, what, name), sizeof value);
    return value;
  }
  std::string_view string(const char* what, std::string_view name = {}) {
    const auto length = read<uint64_t>(what, name);
    return {reinterpret_cast<const char*>(take(length, what, name)), length};
  }
  const std::byte* take(uint64_t bytes, const char* what, std::string_view name) {
    if (bytes > left()) {
      fail("{}: {}{}{} takes {} bytes at byte {}, but the file has {}: it is truncated or damaged",
           where_, what, name.empty() ? "" : " ", name.empty() ? "" : quoted(name), bytes, at_,
           file_.size());
    }
    const std::byte* data = file_.data() + at_;
    at_ += bytes;
    return data;
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  uint64_t at_ = 0;
};

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> file, const std::string& where)
      : file_(file), where_(where), in_(file, where) {
    header_.metadata = GgufMetadata(where);
  }

  GgufHeader run() && {
    read_version();
    const auto n_tensors = in_.read<uint64_t>("the count of tensors");
    const auto n_pairs = in_.read<uint64_t>("the count of keys");
    check_count(n_pairs, kMinPairBytes, "keys");
    check_count(n_tensors, kMinTensorBytes, "tensors");
    for (uint64_t i = 0; i < n_pairs; ++i) read_pair();
    read_alignment();
    header_.tensors.reserve(n_tensors);
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();
    place_tensors();
    return std::move(header_);
  }

 private:
  void read_version() {
    const std::string_view magic =
        file_.size() < 4
            ? std::string_view(reinterpret_cast<const char*>(file_.data()), file_.size())
            : std::string_view(reinterpret_cast<const char*>(in_.take(4, "the magic", {})), 4);
    if (magic != "GGUF") {
      fail("{}: not a GGUF file: it begins with {} instead of 'GGUF'", where_, quoted(magic));
    }
    header_.version = in_.read<uint32_t>("the version");
    const uint32_t swapped = __builtin_bswap32(header_.version);
    if (header_.version > 0xFFFF && swapped <= 0xFFFF) {
      fail(
          "{}: a big-endian GGUF file (version {}), expected a little-endian one; gguf-py's "
          "gguf-convert-endian converts it",
          where_, swapped);
    }
    if (header_.version != 2 && header_.version != 3) {
      fail("{}: version {} of GGUF, expected 2 or 3", where_, header_.version);
    }
  }

  void check_count(uint64_t count, uint64_t bytes_each, const char* what) {
    if (count > in_.left() / bytes_each) {
      fail("{}: {} {} do not fit into a file of {} bytes: it is truncated or damaged", where_,
           count, what, file_.size());
    }
  }

  /// Keys and names go into messages and JSON as they are.
  std::string read_name(const char* what) {
    const std::string_view name = in_.string(what);
    const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x20 && byte < 0x7F;
    });
    if (name.empty() || !printable) {
      fail("{}: {} is {}, expected printable ASCII", where_, what, quoted(name));
    }
    return std::string(name);
  }

  void read_pair() {
    std::string key = read_name("a key");
    const auto type = in_.read<uint32_t>("the type of key", key);
    GgufValue value = type == kArrayType ? read_list(key) : read_scalar(type, key);
    if (header_.metadata.contains(key)) fail("{}: key '{}' occurs twice", where_, key);
    header_.metadata.set(std::move(key), std::move(value));
  }

  bool read_bool(const std::string& key) {
    const auto byte = in_.read<uint8_t>("the value of key", key);
    if (byte > 1) fail("{}: key '{}': expected a boolean, 0 or 1, found {}", where_, key, byte);
    return byte == 1;
  }

  /// Calls f.operator()<T>() with the type of that number. Numbers: gguf.h (enum gguf_type).
  template <typename F>
  GgufValue with_type(uint32_t type, const std::string& key, F&& f) {
    switch (type) {
      case 0:
        return f.template operator()<uint8_t>();
      case 1:
        return f.template operator()<int8_t>();
      case 2:
        return f.template operator()<uint16_t>();
      case 3:
        return f.template operator()<int16_t>();
      case 4:
        return f.template operator()<uint32_t>();
      case 5:
        return f.template operator()<int32_t>();
      case 6:
        return f.template operator()<float>();
      case 7:
        return f.template operator()<bool>();
      case 8:
        return f.template operator()<std::string>();
      case 10:
        return f.template operator()<uint64_t>();
      case 11:
        return f.template operator()<int64_t>();
      case 12:
        return f.template operator()<double>();
      case kArrayType:
        fail("{}: key '{}': lists within lists are not supported", where_, key);
      default:
        fail("{}: key '{}' has a value of the unknown type {}", where_, key, type);
    }
  }

  GgufValue read_scalar(uint32_t type, const std::string& key) {
    return with_type(type, key, [&]<typename T>() -> GgufValue {
      if constexpr (std::is_same_v<T, std::string>) {
        return std::string(in_.string("the value of key", key));
      } else if constexpr (std::is_same_v<T, bool>) {
        return read_bool(key);
      } else {
        return in_.read<T>("the value of key", key);
      }
    });
  }

  GgufValue read_list(const std::string& key) {
    const auto type = in_.read<uint32_t>("the type of key", key);
    const auto count = in_.read<uint64_t>("the list of key", key);
    return with_type(type, key, [&]<typename T>() -> GgufValue {
      constexpr uint64_t kBytesEach = std::is_same_v<T, std::string> ? 8 : sizeof(T);
      if (count > in_.left() / kBytesEach) {
        fail(
            "{}: key '{}': a list of {} does not fit into a file of {} bytes: it is truncated or "
            "damaged",
            where_, key, count, file_.size());
      }
      if constexpr (std::is_same_v<T, std::string>) {
        GgufStrings all;
        all.reserve(count);
        for (uint64_t i = 0; i < count; ++i) all.push_back(in_.string("the list of key", key));
        return all;
      } else if constexpr (std::is_same_v<T, bool>) {
        std::vector<bool> all(count);
        for (uint64_t i = 0; i < count; ++i) all[i] = read_bool(key);
        return all;
      } else {
        std::vector<T> all(count);
        const std::byte* data = in_.take(count * sizeof(T), "the list of key", key);
        if (count > 0) std::memcpy(all.data(), data, count * sizeof(T));
        return all;
      }
    });
  }

  void read_alignment() {
    const GgufValue* value = header_.metadata.find(kGgufAlignmentKey);
    if (value == nullptr) return;
    const auto* alignment = std::get_if<uint32_t>(value);
    if (alignment == nullptr || !std::has_single_bit(*alignment)) {
      fail("{}: key '{}': expected a power of two as UINT32, found {}", where_, kGgufAlignmentKey,
           describe(*value));
    }
    header_.alignment = *alignment;
  }

  /// The offset is still relative to the beginning of the data.
  void read_tensor() {
    TensorEntry t;
    t.name = read_name("the name of a tensor");
    if (!names_.insert(t.name).second) fail("{}: tensor '{}' occurs twice", where_, t.name);
    const auto n_dims = in_.read<uint32_t>("the description of tensor", t.name);
    if (n_dims > kMaxDims) {
      fail("{}: tensor '{}' has {} dimensions, expected at most {}", where_, t.name, n_dims,
           kMaxDims);
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < n_dims; ++i) {
      const auto dim = in_.read<uint64_t>("the description of tensor", t.name);
      // Far from overflow in bytes too, whatever the type.
      constexpr uint64_t kMost = std::numeric_limits<int64_t>::max() / 16;
      if (dim > kMost || (dim > 0 && elements > kMost / dim)) {
        fail("{}: tensor '{}': dimension {} of {} is absurd", where_, t.name, i, dim);
      }
      elements *= dim;
      t.shape.insert(t.shape.begin(), static_cast<int64_t>(dim));
    }
    t.dtype = read_type(t.name);
    const int64_t run = dtype_block(t.dtype).elements, row = t.shape.empty() ? 1 : t.shape.back();
    if (row % run != 0) {
      fail("{}: tensor '{}': rows of {} elements are no whole number of {} blocks of {}", where_,
           t.name, row, dtype_name(t.dtype), run);
    }
    t.bytes = dtype_bytes(t.dtype, static_cast<int64_t>(elements));
    t.offset = in_.read<uint64_t>("the description of tensor", t.name);
    header_.tensors.push_back(std::move(t));
  }

  DType read_type(const std::string& name) {
    const auto number = in_.read<uint32_t>("the description of tensor", name);
    const GgufTensorType* type = find_gguf_tensor_type(number);
    if (type == nullptr) fail("{}: tensor '{}' is of the unknown type {}", where_, name, number);
    if (!type->dtype) {
      fail("{}: tensor '{}' is {}, which is not supported", where_, name, type->name);
    }
    return *type->dtype;
  }

  void place_tensors() {
    const uint64_t mask = header_.alignment - 1;
    const uint64_t data = (in_.position() + mask) & ~mask;
    for (TensorEntry& t : header_.tensors) {
      if ((t.offset & mask) != 0) {
        fail("{}: tensor '{}' is at {} in the data, which is no multiple of the alignment {}",
             where_, t.name, t.offset, header_.alignment);
      }
      if (data > file_.size() || t.offset > file_.size() - data ||
          t.bytes > file_.size() - data - t.offset) {
        fail(
            "{}: tensor '{}' takes {} bytes at {} in the data, which begins at byte {}, but the "
            "file has {}: it is truncated or damaged",
            where_, t.name, t.bytes, t.offset, data, file_.size());
      }
      t.offset += data;
    }
    std::stable_sort(
        header_.tensors.begin(), header_.tensors.end(),
        [](const TensorEntry& a, const TensorEntry& b) { return a.offset < b.offset; });
    const TensorEntry* before = nullptr;
    for (const TensorEntry& t : header_.tensors) {
      if (t.bytes == 0) continue;
      if (before != nullptr && t.offset < before->offset + before->bytes) {
        fail("{}: tensors '{}' and '{}' overlap", where_, before->name, t.name);
      }
      before = &t;
    }
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  Reader in_;
  GgufHeader header_;
  std::unordered_set<std::string> names_;
};

}  // namespace

GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where) {
  return HeaderParser(file, where).run();
}

}  // namespace dsv3
