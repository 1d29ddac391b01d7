#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>

#include "base/error.h"
#include "dsv3/tensor.h"

// Helpers of the tests in this folder.
namespace dsv3 {

/// A folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "dsv3-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("cannot make a temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The bytes of a safetensors file made of its parts, right or wrong.
inline std::string file_of(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

/// Runs `f`, which must throw Error, and looks for all the parts in its message.
inline void expect_error(const std::function<void()>& f, std::initializer_list<const char*> parts) {
  try {
    f();
  } catch (const Error& e) {
    for (const char* part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "message: " << e.what() << "\nlacks: " << part;
    }
    return;
  }
  std::string all;
  for (const char* part : parts) all += std::string(" ") + part;
  ADD_FAILURE() << "no error naming" << all;
}

inline Tensor random_tensor(DType dtype, Shape shape, std::mt19937& random) {
  Tensor t = Tensor::empty(dtype, std::move(shape));
  auto* bytes = static_cast<unsigned char*>(t.mutable_raw());
  for (size_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<unsigned char>(random());
  return t;
}

inline void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(a.bytes() == 0 ? 0 : std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
}

}  // namespace dsv3
