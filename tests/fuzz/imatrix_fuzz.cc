// libFuzzer target: any bytes as an importance matrix are read or refused with dsv3::Error, and what
// is read says nothing that is not finite.

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "quantization/imatrix.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int file = ::memfd_create("imatrix", 0);
  if (file < 0 || ::write(file, data, size) != static_cast<ssize_t>(size)) std::abort();
  try {
    const auto matrix =
        dsv3::quantization::ImportanceMatrix::read(fmt::format("/proc/self/fd/{}", file));
    if (matrix.tensors.empty()) std::abort();
    for (const auto& [name, t] : matrix.tensors) {
      const auto matrices = static_cast<int64_t>(t.counts.size());
      const auto in = static_cast<int64_t>(t.sums.size()) / matrices;
      for (int64_t m = 0; m < matrices; ++m) {
        const dsv3::Shape shape = matrices == 1 ? dsv3::Shape{1, in} : dsv3::Shape{matrices, 1, in};
        for (const float x : matrix.importance(name, shape, m)) {
          if (!std::isfinite(x) || x < 0) std::abort();
        }
        if (m > 20) break;  // few are as good as many
      }
    }
  } catch (const dsv3::Error&) {
  }
  ::close(file);
  return 0;
}
