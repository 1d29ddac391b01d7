#include "cli/ids_file.h"

#include "base/error.h"
#include "base/file.h"

namespace dsv3::cli {

std::vector<int64_t> read_ids(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  if (file->size() % 4 != 0) {
    fail("{}: {} bytes: expected 32-bit integers, so a multiple of 4", path.string(), file->size());
  }
  std::vector<int64_t> ids(file->size() / 4);
  for (size_t i = 0; i < ids.size(); ++i) {
    uint32_t id = 0;
    for (size_t b = 0; b < 4; ++b) {
      id |= std::to_integer<uint32_t>(file->data()[4 * i + b]) << (8 * b);
    }
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

}  // namespace dsv3::cli
