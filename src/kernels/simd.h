#pragma once

#include "base/simd.h"  // IWYU pragma: export
