#include "checkpoint/gguf.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <unordered_map>

#include "base/error.h"

namespace dsv3 {

namespace fs = std::filesystem;

bool is_gguf_file(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return false;
  if (path.extension() == ".gguf") return true;
  std::array<char, 4> magic{};
  return std::ifstream(path, std::ios::binary).read(magic.data(), magic.size()) &&
         std::string_view(magic.data(), magic.size()) == "GGUF";
}

GgufFile::GgufFile(fs::path path, GgufHeader header, std::shared_ptr<const MappedFile> mapping)
    : WeightFile(std::move(path), std::move(header.tensors), std::move(mapping)),
      metadata_(std::move(header.metadata)),
      version_(header.version) {}

std::shared_ptr<const GgufFile> GgufFile::open(const fs::path& path) {
  auto mapping = MappedFile::open(path);
  GgufHeader header = parse_gguf({mapping->data(), mapping->size()}, path.string());
  return std::shared_ptr<const GgufFile>(new GgufFile(path, std::move(header), std::move(mapping)));
}

std::shared_ptr<const GgufFile> GgufFile::open_header_only(const fs::path& path) {
  // How long the header is is known only at its end, so the file is mapped for reading it.
  const auto mapping = MappedFile::open(path);
  GgufHeader header = parse_gguf({mapping->data(), mapping->size()}, path.string());
  return std::shared_ptr<const GgufFile>(new GgufFile(path, std::move(header), nullptr));
}

std::string GgufSplitName::file_name() const {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, number, count);
}

std::optional<GgufSplitName> GgufSplitName::parse(std::string_view file_name) {
  constexpr std::string_view kSuffix = ".gguf", kOf = "-of-";
  if (!file_name.ends_with(kSuffix)) return std::nullopt;
  std::string_view rest = file_name.substr(0, file_name.size() - kSuffix.size());
  /// Takes five digits from the end.
  const auto number = [&rest](size_t& out) {
    constexpr size_t kDigits = 5;
    if (rest.size() < kDigits) return false;
    const char* begin = rest.data() + rest.size() - kDigits;
    const auto [end, error] = std::from_chars(begin, begin + kDigits, out);
    rest.remove_suffix(kDigits);
    return error == std::errc() && end == begin + kDigits;
  };
  GgufSplitName name;
  if (!number(name.count) || !rest.ends_with(kOf)) return std::nullopt;
  rest.remove_suffix(kOf.size());
  if (!number(name.number) || !rest.ends_with('-')) return std::nullopt;
  rest.remove_suffix(1);
  name.prefix = rest;
  if (name.number < 1 || name.number > name.count) return std::nullopt;
  return name;
}

namespace {

std::shared_ptr<const GgufFile> open_one(const fs::path& path, bool header_only) {
  return header_only ? GgufFile::open_header_only(path) : GgufFile::open(path);
}

/// How many files the model has of which this is one.
size_t count_splits(const GgufMetadata& metadata) {
  const int64_t count = metadata.find_integer(kGgufSplitCountKey).value_or(1);
  if (count < 0 || count > UINT16_MAX) {
    fail("{}: key '{}' is {}, expected 1 to {}", metadata.where(), kGgufSplitCountKey, count,
         UINT16_MAX);
  }
  return std::max<size_t>(1, static_cast<size_t>(count));
}

/// The name of a file of a split model, which must agree with what the file says.
GgufSplitName split_name(const GgufFile& file, size_t count) {
  const GgufMetadata& metadata = file.metadata();
  const int64_t number = metadata.integer(kGgufSplitNumberKey) + 1;
  const auto name = GgufSplitName::parse(file.path().filename().string());
  if (!name || name->count != count || static_cast<int64_t>(name->number) != number) {
    fail(
        "{}: says that it is file {} of {} of a split model, expected a name that ends in "
        "-{:05}-of-{:05}.gguf",
        metadata.where(), number, count, number, count);
  }
  return *name;
}

}  // namespace

std::vector<std::shared_ptr<const GgufFile>> open_gguf_model(const fs::path& path,
                                                             bool header_only) {
  const auto given = open_one(path, header_only);
  const size_t count = count_splits(given->metadata());
  if (count == 1) return {given};

  GgufSplitName name = split_name(*given, count);
  const size_t given_number = name.number;
  const auto path_of = [&](size_t number) {
    name.number = number;
    return path.parent_path() / name.file_name();
  };
  std::vector<std::string> missing;
  std::error_code ec;
  for (size_t i = 1; i <= count; ++i) {
    if (const fs::path part = path_of(i); !fs::exists(part, ec)) {
      missing.push_back(part.filename().string());
    }
  }
  if (!missing.empty()) {
    const size_t shown = std::min<size_t>(missing.size(), 10);
    fail("{}: {} of {} files of this split model are missing: {}{}", path.string(), missing.size(),
         count, fmt::join(missing.begin(), missing.begin() + shown, ", "),
         shown < missing.size() ? ", ..." : "");
  }

  std::vector<std::shared_ptr<const GgufFile>> files;
  std::unordered_map<std::string_view, size_t> owners;
  for (size_t i = 1; i <= count; ++i) {
    files.push_back(i == given_number ? given : open_one(path_of(i), header_only));
    const GgufFile& file = *files.back();
    if (const size_t own = count_splits(file.metadata()); own != count) {
      fail("{}: says that the model has {} files, but {} says {}", file.path().string(), own,
           path.filename().string(), count);
    }
    split_name(file, count);
    for (const TensorEntry& t : file.tensors()) {
      const auto [at, added] = owners.emplace(t.name, i);
      if (!added) {
        fail("{}: tensor '{}' is also in {}", file.path().string(), t.name,
             path_of(at->second).filename().string());
      }
    }
  }
  const GgufMetadata& metadata = files[0]->metadata();
  const int64_t expected = metadata.integer(kGgufSplitTensorsKey);
  if (expected != static_cast<int64_t>(owners.size())) {
    fail("{}: the files of this split model have {} tensors, expected {}", metadata.where(),
         owners.size(), expected);
  }
  return files;
}

GgufMetadata read_gguf_metadata(const fs::path& path) {
  const auto file = GgufFile::open_header_only(path);
  const size_t count = count_splits(file->metadata());
  if (count == 1) return file->metadata();
  GgufSplitName name = split_name(*file, count);
  if (name.number == 1) return file->metadata();
  name.number = 1;
  return GgufFile::open_header_only(path.parent_path() / name.file_name())->metadata();
}

}  // namespace dsv3
