#include "kernels/variants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "kernels/simd.h"
//
#include <hwy/highway.h>

namespace dsv3::kernels {
namespace {

struct Variant {
  const char* name;
  int64_t targets;  // of Highway
};

#if HWY_ARCH_X86
constexpr Variant kVariants[] = {{"amx", HWY_AVX3 | HWY_AVX3_DL},
                                 {"amx_emulated", HWY_AVX3 | HWY_AVX3_DL},
                                 {"avx512", HWY_AVX3 | HWY_AVX3_DL},
                                 {"avx2", HWY_AVX2},
                                 {"sse4", HWY_SSE4},
                                 {"scalar", HWY_STATIC_TARGET}};
#elif HWY_ARCH_ARM
constexpr Variant kVariants[] = {{"neon", HWY_NEON}};
#else
constexpr Variant kVariants[] = {{"scalar", HWY_STATIC_TARGET}};
#endif

#if defined(__x86_64__) && defined(__linux__)
// Tiles and their products, which the system must also give leave to use: their state is large, and
// not saved for a process that has not asked.
bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kBF16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25;
  constexpr unsigned kAll = kBF16 | kTiles | kInt8;
  if ((edx & kAll) != kAll) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
bool has_amx() { return false; }
#endif

bool has_avx512_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

bool made_by_intel() {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

// What the processor has, without the effect of an earlier force_variant.
struct Processor {
  int64_t targets = hwy::SupportedTargets();
  bool amx = has_amx();
  bool avx512_bf16 = has_avx512_bf16();
  bool is_intel = made_by_intel();

  bool runs(const Variant& v) const {
    const std::string name = v.name;
    const bool amx_needs = avx512_bf16 && (targets & HWY_AVX3_DL) != 0;
    if (name == "amx" && !(amx && amx_needs)) return false;
    if (name == "amx_emulated" && (amx || !amx_needs)) return false;
    return (targets & v.targets) != 0;
  }
  Features features(const std::string& variant) const {
    const bool emulated = variant == "amx_emulated", tiles = emulated || variant == "amx";
    const bool avx512 = tiles || variant == "avx512";
    return {.avx512_vnni = avx512 && (targets & HWY_AVX3_DL) != 0,
            .avx512_bf16 = avx512 && avx512_bf16,
            .fast_bf16 = tiles || (avx512 && avx512_bf16 && !is_intel),
            .amx = tiles,
            .amx_emulated = emulated};
  }
};

const Processor& processor() {
  static const Processor instance;
  return instance;
}

std::string& forced() {
  static std::string name;
  return name;
}

Features& features() {
  static Features now = processor().features(available_variants().front());
  return now;
}

}  // namespace

std::vector<std::string> testable_variants() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) {
    if (processor().runs(v)) names.emplace_back(v.name);
  }
  return names;
}

std::vector<std::string> available_variants() {
  std::vector<std::string> names = testable_variants();
  std::erase(names, "amx_emulated");
  return names;
}

void force_variant(const std::string& wanted) {
  const auto names = available_variants();
  const char* environment = std::getenv("DSV3_ISA");
  const std::string name = wanted.empty() && environment != nullptr ? environment : wanted;
  if (name.empty() || name == "auto") {
    hwy::SetSupportedTargetsForTest(0);
    forced().clear();
  } else {
    int64_t targets = 0;
    for (const Variant& v : kVariants) {
      if (name == v.name && processor().runs(v)) targets = v.targets & processor().targets;
    }
    if (targets == 0) {
      fail("kernel variant '{}' is not available here; this processor runs: {}", name,
           fmt::join(names, ", "));
    }
    hwy::SetSupportedTargetsForTest(targets);
    forced() = name;
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  features() = processor().features(current_variant());
}

std::string current_variant() { return forced().empty() ? available_variants().front() : forced(); }

const Features& current_features() { return features(); }

namespace {
// Kernels may run before anybody calls force_variant, and must not run others than asked for.
const bool environment_applied = [] {
  if (std::getenv("DSV3_ISA") == nullptr) return true;
  try {
    force_variant("");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: DSV3_ISA: %s\n", e.what());
    std::_Exit(1);
  }
  return true;
}();
}  // namespace

}  // namespace dsv3::kernels
