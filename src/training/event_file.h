#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dsv3::training {

/// CRC-32C (Castagnoli), as TFRecord files have it.
uint32_t crc32c(std::string_view bytes);

/// An event file that TensorBoard reads: records of TFRecord's framing, each an `Event` of
/// TensorFlow's event.proto, encoded by hand. A record is on its way to the disk when a call
/// returns, so that a killed run loses none. Throws Error naming the file if it cannot be written.
class EventFile {
 public:
  /// Makes a new file in `folder`. `next_step`: what earlier files of the folder say of steps from
  /// this one on no longer counts.
  EventFile(const std::filesystem::path& folder, int64_t next_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void add_scalars(int64_t step, std::span<const std::pair<std::string, double>> values);
  void add_text(int64_t step, std::string_view tag, std::string_view text);

 private:
  void write_record(std::string_view event);

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace dsv3::training
