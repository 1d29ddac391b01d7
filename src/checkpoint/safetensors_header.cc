#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace dsv3 {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the data is used as it lies in the file");

constexpr uint64_t kLengthBytes = 8;
/// The reference reader's own limit; a longer header is a broken length.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

std::optional<DType> dtype_from_name(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    if (dtype_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::string dtype_names() {
  std::string all;
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    all += fmt::format("{}{}", i == 0 ? "" : ", ", dtype_name(static_cast<DType>(i)));
  }
  return all;
}

/// Builds the list of tensors while the JSON is read; no document is made, since one of an official
/// checkpoint can have 100,000 tensors. Depth 1: the header. Depth 2: a tensor or the metadata.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& where, SafetensorsHeader& out) : where_(where), out_(out) {}

  bool null() override { return wrong("null"); }
  bool boolean(bool value) override { return wrong(value ? "true" : "false"); }
  bool number_float(number_float_t, const string_t& text) override { return wrong(text); }
  bool number_integer(number_integer_t value) override { return wrong(std::to_string(value)); }
  bool binary(binary_t&) override { return wrong("bytes"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (field_ == Field::kShape && in_array_) {
      if (value > INT64_MAX) return wrong(std::to_string(value));
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (field_ == Field::kOffsets && in_array_ && n_offsets_ < 2) {
      offsets_[n_offsets_++] = value;
      return true;
    }
    return wrong(std::to_string(value));
  }

  bool string(string_t& value) override {
    if (in_metadata_) {
      if (!out_.metadata.emplace(key_, value).second) {
        fail("{}: __metadata__ has the key '{}' twice", where_, key_);
      }
      return true;
    }
    if (field_ != Field::kDtype) return wrong('"' + value + '"');
    const std::optional<DType> dtype = dtype_from_name(value);
    if (!dtype) {
      fail("{}: tensor '{}': unknown dtype \"{}\", supported: {}", where_, entry_.name, value,
           dtype_names());
    }
    entry_.dtype = *dtype;
    field_ = Field::kNone;
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (depth_ == 1) {
      field_ = Field::kNone;
      if (!names_.insert(value).second) fail("{}: the name '{}' occurs twice", where_, value);
      return true;
    }
    if (in_metadata_) return true;
    field_ = value == "dtype"          ? Field::kDtype
             : value == "shape"        ? Field::kShape
             : value == "data_offsets" ? Field::kOffsets
                                       : Field::kNone;
    if (field_ == Field::kNone) {
      fail("{}: tensor '{}': unknown field '{}', expected dtype, shape and data_offsets", where_,
           entry_.name, value);
    }
    const unsigned bit = 1u << static_cast<unsigned>(field_);
    if (seen_ & bit) fail("{}: tensor '{}': field '{}' occurs twice", where_, entry_.name, value);
    seen_ |= bit;
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ == 0) {
      depth_ = 1;
      return true;
    }
    if (depth_ != 1) return wrong("an object");
    depth_ = 2;
    in_metadata_ = key_ == "__metadata__";
    entry_ = TensorEntry{};
    if (!in_metadata_) entry_.name = key_;
    seen_ = 0;
    n_offsets_ = 0;
    return true;
  }

  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) finish_tensor();
    --depth_;
    in_metadata_ = false;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_array_ || (field_ != Field::kShape && field_ != Field::kOffsets)) {
      return wrong("a list");
    }
    in_array_ = true;
    return true;
  }

  bool end_array() override {
    if (field_ == Field::kOffsets && n_offsets_ != 2) {
      fail("{}: tensor '{}': data_offsets has {} numbers, expected 2", where_, entry_.name,
           n_offsets_);
    }
    in_array_ = false;
    field_ = Field::kNone;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    fail("{}: the header is not valid JSON at byte {} of it: {}", where_, position,
         json_error_reason(e));
  }

 private:
  enum class Field { kNone, kDtype, kShape, kOffsets };

  /// A value that has no place where it stands.
  [[noreturn]] bool wrong(const std::string& found) const {
    if (depth_ == 0) fail("{}: the header is {}, expected a JSON object", where_, found);
    if (in_metadata_) {
      fail("{}: __metadata__['{}'] is {}, expected a string", where_, key_, found);
    }
    if (depth_ == 1) fail("{}: tensor '{}' is {}, expected an object", where_, key_, found);
    const char* expected = field_ == Field::kDtype   ? "a string"
                           : field_ == Field::kShape ? "a list of whole numbers from 0 on"
                                                     : "two whole numbers from 0 on";
    fail("{}: tensor '{}': {} {} {}, expected {}", where_, entry_.name, key_,
         in_array_ ? "has" : "is", found, expected);
  }

  void finish_tensor() {
    static constexpr std::pair<Field, const char*> kNeeded[] = {
        {Field::kDtype, "dtype"}, {Field::kShape, "shape"}, {Field::kOffsets, "data_offsets"}};
    for (const auto& [field, name] : kNeeded) {
      if (!(seen_ & (1u << static_cast<unsigned>(field)))) {
        fail("{}: tensor '{}': no field '{}'", where_, entry_.name, name);
      }
    }
    uint64_t need = dtype_size(entry_.dtype);
    for (const int64_t dim : entry_.shape) {
      if (__builtin_mul_overflow(need, static_cast<uint64_t>(dim), &need) || need > INT64_MAX) {
        fail("{}: tensor '{}': shape {} is too large", where_, entry_.name,
             shape_string(entry_.shape));
      }
    }
    const auto [begin, end] = offsets_;
    if (begin > end) {
      fail("{}: tensor '{}': data_offsets [{}, {}] end before they begin", where_, entry_.name,
           begin, end);
    }
    if (end - begin != need) {
      fail("{}: tensor '{}': data_offsets [{}, {}] hold {} bytes, but {} {} needs {}", where_,
           entry_.name, begin, end, end - begin, dtype_name(entry_.dtype),
           shape_string(entry_.shape), need);
    }
    entry_.offset = begin;
    entry_.bytes = need;
    out_.tensors.push_back(std::move(entry_));
  }

  const std::string& where_;
  SafetensorsHeader& out_;
  std::unordered_set<std::string> names_;
  std::string key_;
  TensorEntry entry_;
  std::array<uint64_t, 2> offsets_ = {};
  size_t n_offsets_ = 0;
  unsigned seen_ = 0;
  int depth_ = 0;
  Field field_ = Field::kNone;
  bool in_array_ = false;
  bool in_metadata_ = false;
};

/// The length of the header, from the first 8 bytes (fewer if the file is shorter).
uint64_t check_length(std::span<const std::byte> begin, uint64_t file_size,
                      const std::string& where) {
  if (file_size < kLengthBytes) {
    fail("{}: {} bytes, too short for a safetensors file", where, file_size);
  }
  uint64_t length = 0;
  std::memcpy(&length, begin.data(), kLengthBytes);
  if (std::memcmp(begin.data(), "version ", kLengthBytes) == 0) {
    fail("{}: this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`", where);
  }
  if (length > kMaxHeaderBytes) {
    fail(
        "{}: not a safetensors file: the first 8 bytes give a header of {} bytes, at most {} are "
        "allowed",
        where, length, kMaxHeaderBytes);
  }
  if (length > file_size - kLengthBytes) {
    fail("{}: truncated: a header of {} bytes is announced, the file has {} bytes in all", where,
         length, file_size);
  }
  return length;
}

SafetensorsHeader parse_header(std::string_view json, uint64_t file_size,
                               const std::string& where) {
  if (!json.starts_with('{')) {
    fail("{}: not a safetensors file: the header does not begin with '{{'", where);
  }
  SafetensorsHeader header;
  HeaderHandler handler(where, header);
  try {
    nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  } catch (const nlohmann::json::exception& e) {
    fail("{}: the header is not valid JSON: {}", where, json_error_reason(e));
  }

  // The tensors must tile the data exactly.
  const uint64_t data_begin = kLengthBytes + json.size();
  const uint64_t data_size = file_size - data_begin;
  std::vector<TensorEntry>& tensors = header.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  uint64_t at = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    TensorEntry& t = tensors[i];
    const uint64_t end = t.offset + t.bytes;
    if (end > data_size) {
      fail(
          "{}: tensor '{}': its data ends at byte {}, the file has {} bytes of data: truncated or "
          "damaged",
          where, t.name, end, data_size);
    }
    if (t.offset < at) {
      fail("{}: tensor '{}' at byte {} overlaps tensor '{}', which ends at byte {}", where, t.name,
           t.offset, tensors[i - 1].name, at);
    }
    if (t.offset > at) {
      fail("{}: bytes {} to {} of the data, before tensor '{}', belong to no tensor", where, at,
           t.offset, t.name);
    }
    at = end;
    t.offset += data_begin;
  }
  if (at != data_size) {
    fail("{}: bytes {} to {} at the end of the data belong to no tensor", where, at, data_size);
  }
  return header;
}

/// A file descriptor that closes itself.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

void read_exactly(int fd, uint64_t offset, std::span<char> out, const std::string& where) {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot read: {}", where, std::strerror(errno));
    if (n == 0) fail("{}: ended at byte {} while it was read", where, offset);
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  const uint64_t length = check_length(file, file.size(), where);
  const std::string_view json(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  return parse_header(json, file.size(), where);
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  const std::string where = path.string();
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail("{}: cannot open: {}", where, std::strerror(errno));
  struct stat info {};
  if (::fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    fail("{}: expected a regular file", where);
  }
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  std::array<char, kLengthBytes> begin{};
  if (size >= kLengthBytes) read_exactly(file.fd, 0, begin, where);
  std::string json(check_length(std::as_bytes(std::span(begin)), size, where), '\0');
  read_exactly(file.fd, kLengthBytes, json, where);
  return parse_header(json, size, where);
}

}  // namespace dsv3
