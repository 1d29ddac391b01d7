#include "kernels/variants.h"

#include "base/error.h"
#include "kernels/simd.h"
//
#include <hwy/highway.h>

namespace dsv3::kernels {
namespace {

struct Variant {
  const char* name;
  int64_t target;
};

#if HWY_ARCH_X86
constexpr Variant kVariants[] = {{"avx512", HWY_AVX3}, {"avx2", HWY_AVX2}, {"sse4", HWY_SSE4}};
#elif HWY_ARCH_ARM
constexpr Variant kVariants[] = {{"neon", HWY_NEON}};
#else
constexpr Variant kVariants[] = {{"scalar", HWY_STATIC_TARGET}};
#endif

// What the processor has of what was compiled, without the effect of an earlier force_variant.
int64_t supported() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

std::string& forced() {
  static std::string name;
  return name;
}

}  // namespace

std::vector<std::string> available_variants() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) {
    if ((supported() & v.target) != 0) names.emplace_back(v.name);
  }
  if (names.empty()) names.emplace_back("scalar");
  return names;
}

void force_variant(const std::string& name) {
  const auto names = available_variants();
  if (name.empty() || name == "auto") {
    hwy::SetSupportedTargetsForTest(0);
    forced().clear();
  } else {
    int64_t target = 0;
    for (const Variant& v : kVariants) {
      if (name == v.name && (supported() & v.target) != 0) target = v.target;
    }
    if (target == 0) {
      fail("kernel variant '{}' is not available here; this processor runs: {}", name,
           fmt::join(names, ", "));
    }
    hwy::SetSupportedTargetsForTest(target);
    forced() = name;
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

std::string current_variant() { return forced().empty() ? available_variants().front() : forced(); }

}  // namespace dsv3::kernels
