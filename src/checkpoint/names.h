#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// The file names of a checkpoint folder, as Hugging Face has them.
namespace dsv3 {

inline constexpr const char* kSingleFileName = "model.safetensors";
inline constexpr const char* kIndexName = "model.safetensors.index.json";

/// "model-00003-of-00163.safetensors", counted from 1.
std::string shard_name(size_t number, size_t count);
/// Whether `name` is one that `shard_name` makes.
bool is_shard_name(std::string_view name);

}  // namespace dsv3
