// libFuzzer target: any text as config.json is read or refused with dsv3::Error, and what was read
// can be written and read again with the same meaning.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "dsv3/config.h"
#include "dsv3/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string written;
  try {
    written =
        dsv3::DeepseekV3Config::from_json({reinterpret_cast<const char*>(data), size}).to_json();
  } catch (const dsv3::Error&) {
    return 0;
  }
  if (dsv3::DeepseekV3Config::from_json(written).to_json() != written) std::abort();
  return 0;
}
