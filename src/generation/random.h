#pragma once

#include <array>
#include <cstdint>

namespace dsv3::generation {

/// Philox4x32 with 10 rounds, a counter-based generator: the same four words for the same counter
/// and key, on every machine, in any order. Source: Salmon et al., "Parallel random numbers: as
/// easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// Uniform in [0, 1) with 53 bits. Random numbers of generation have an address instead of a state:
/// the seed, the index of the sequence, how many tokens it has generated, and the number of the
/// draw for this token. So a sequence's sample does not depend on which others share its batch.
double uniform(uint64_t seed, uint64_t sequence, uint32_t token, uint32_t draw = 0);

}  // namespace dsv3::generation
