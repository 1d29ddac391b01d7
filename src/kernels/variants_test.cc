#include "kernels/variants.h"

#include <gtest/gtest.h>

#include "dsv3/error.h"

namespace dsv3::kernels {
namespace {

TEST(VariantsTest, UnknownVariantNamesWhatIsAvailable) {
  try {
    force_variant("amx9000");
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("amx9000"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find(available_variants().front()), std::string::npos);
  }
}

TEST(VariantsTest, ForcingAndReleasing) {
  for (const std::string& name : testable_variants()) {
    force_variant(name);
    EXPECT_EQ(current_variant(), name);
  }
  force_variant("auto");
  EXPECT_EQ(current_variant(), available_variants().front());
}

}  // namespace
}  // namespace dsv3::kernels
