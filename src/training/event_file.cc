#include "training/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace dsv3::training {
namespace {

static_assert(std::endian::native == std::endian::little);

template <typename T>
void put_bytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

// ---- protocol buffers: a key (number of the field and how it is stored), then the value
enum Wire : uint64_t { kVarint = 0, k64Bits = 1, kBytes = 2, k32Bits = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
}
void put_key(std::string& out, uint64_t field, Wire wire) { put_varint(out, field << 3 | wire); }
void put_integer(std::string& out, uint64_t field, int64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_text(std::string& out, uint64_t field, std::string_view text) {
  put_key(out, field, kBytes);
  put_varint(out, text.size());
  out += text;
}

// Numbers of fields, from TensorFlow's event.proto, summary.proto and tensor.proto.
namespace event {
constexpr uint64_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session_log {
constexpr uint64_t kStatus = 1;
constexpr int64_t kStart = 1;
}  // namespace session_log
namespace summary {
constexpr uint64_t kValue = 1;
constexpr uint64_t kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9;  // of a value
constexpr uint64_t kPluginData = 1, kPluginName = 1;                        // of its metadata
}  // namespace summary
namespace tensor {
constexpr uint64_t kDType = 1, kShape = 2, kStringValue = 8;
constexpr int64_t kString = 7;  // a dtype
}  // namespace tensor

std::string new_event(int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::string out;
  put_key(out, event::kWallTime, k64Bits);
  put_bytes(out, now.count());
  put_integer(out, event::kStep, step);
  return out;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = table[(crc ^ static_cast<uint8_t>(c)) & 255] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t next_step) {
  // TensorBoard reads the files of a folder in the order of their names.
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  path_ = folder / fmt::format("events.out.tfevents.{:016}.{}", now.count(), ::getpid());
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("{}: cannot create: {}", path_.string(), std::strerror(errno));
  std::string first = new_event(0);
  put_text(first, event::kFileVersion, "brain.Event:2");
  write_record(first);
  std::string start = new_event(next_step);
  std::string status;
  put_integer(status, session_log::kStatus, session_log::kStart);
  put_text(start, event::kSessionLog, status);
  write_record(start);
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

void EventFile::add_scalars(int64_t step, std::span<const std::pair<std::string, double>> values) {
  std::string body;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_text(value, summary::kTag, tag);
    put_key(value, summary::kSimpleValue, k32Bits);
    put_bytes(value, static_cast<float>(number));
    put_text(body, summary::kValue, value);
  }
  std::string record = new_event(step);
  put_text(record, event::kSummary, body);
  write_record(record);
}

void EventFile::add_text(int64_t step, std::string_view tag, std::string_view text) {
  std::string plugin, metadata, content, value, body;
  put_text(plugin, summary::kPluginName, "text");
  put_text(metadata, summary::kPluginData, plugin);
  put_integer(content, tensor::kDType, tensor::kString);
  put_text(content, tensor::kShape, "");  // a scalar
  put_text(content, tensor::kStringValue, text);
  put_text(value, summary::kTag, tag);
  put_text(value, summary::kTensor, content);
  put_text(value, summary::kMetadata, metadata);
  put_text(body, summary::kValue, value);
  std::string record = new_event(step);
  put_text(record, event::kSummary, body);
  write_record(record);
}

void EventFile::write_record(std::string_view event) {
  std::string record;
  put_bytes(record, static_cast<uint64_t>(event.size()));
  put_bytes(record, masked_crc(record));
  record += event;
  put_bytes(record, masked_crc(event));
  append_all(fd_, record, path_);
}

}  // namespace dsv3::training
