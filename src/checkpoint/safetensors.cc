#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <unordered_map>

#include "base/json.h"

namespace dsv3 {

SafetensorsFile::SafetensorsFile(std::filesystem::path path, SafetensorsHeader header,
                                 std::shared_ptr<const MappedFile> mapping)
    : WeightFile(std::move(path), std::move(header.tensors), std::move(mapping)),
      metadata_(std::move(header.metadata)) {}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  auto mapping = MappedFile::open(path);
  auto header = parse_safetensors({mapping->data(), mapping->size()}, path.string());
  return std::shared_ptr<const SafetensorsFile>(
      new SafetensorsFile(path, std::move(header), std::move(mapping)));
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open_header_only(
    const std::filesystem::path& path) {
  return std::shared_ptr<const SafetensorsFile>(
      new SafetensorsFile(path, read_safetensors_header(path), nullptr));
}

SafetensorsLayout lay_out_safetensors(std::vector<TensorEntry> tensors,
                                      const SafetensorsMetadata& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const size_t size_a = dtype_size(tensors[a].dtype), size_b = dtype_size(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : tensors[a].name < tensors[b].name;
  });

  // Written by hand: a document of 100,000 tensors only to print it would be slow.
  const auto quoted = [](const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
      fail("a tensor name or metadata string is not valid UTF-8");
    }
  };
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      json += fmt::format("{}{}:{}", json.back() == '{' ? "" : ",", quoted(key), quoted(value));
    }
    json += "}";
  }
  uint64_t at = 0;
  std::unordered_map<std::string_view, size_t> names;
  for (const size_t i : order) {
    TensorEntry& t = tensors[i];
    if (t.name == "__metadata__") fail("tensor '__metadata__': the format reserves this name");
    if (!names.emplace(t.name, i).second) fail("tensor '{}' is to be written twice", t.name);
    t.bytes = dtype_size(t.dtype);
    for (const int64_t dim : t.shape) {
      if (dim < 0) fail("tensor '{}': negative shape {}", t.name, shape_string(t.shape));
      t.bytes *= static_cast<uint64_t>(dim);
    }
    t.offset = at;
    at += t.bytes;
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        json.size() == 1 ? "" : ",", quoted(t.name), dtype_name(t.dtype),
                        fmt::join(t.shape, ","), t.offset, at);
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');  // The data begins aligned.

  SafetensorsLayout layout;
  const uint64_t length = json.size();
  layout.head.resize(8);
  std::memcpy(layout.head.data(), &length, 8);
  layout.head += json;
  for (TensorEntry& t : tensors) t.offset += layout.head.size();
  layout.file_bytes = layout.head.size() + at;
  layout.tensors = std::move(tensors);
  return layout;
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const SafetensorsMetadata& metadata) {
  std::vector<TensorEntry> entries;
  entries.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    if (!t.tensor.defined()) fail("{}: tensor '{}' is absent", path.string(), t.name);
    entries.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  }
  const SafetensorsLayout layout = with_context(
      path.string(), [&] { return lay_out_safetensors(std::move(entries), metadata); });
  AtomicFile file(path);
  file.write(layout.head);
  for (size_t i = 0; i < tensors.size(); ++i) {
    file.write_at(layout.tensors[i].offset, {static_cast<const std::byte*>(tensors[i].tensor.raw()),
                                             tensors[i].tensor.bytes()});
  }
  file.commit();
}

}  // namespace dsv3
