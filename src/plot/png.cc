#include "plot/png.h"

#include <algorithm>
#include <string_view>

#include "base/crc32.h"
#include "base/error.h"

// PNG (W3C Recommendation, second edition) with one deflate block of fixed Huffman codes (RFC 1951
// 3.2.6), whose matches only ever repeat the byte before or the pixel before.
namespace dsv3::plot {
namespace {

void put_be32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

uint32_t adler32(std::string_view bytes) {
  uint32_t a = 1, b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

class BitWriter {
 public:
  /// Lowest bit first.
  void put(uint32_t value, int bits) {
    pending_ |= static_cast<uint64_t>(value) << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8) {
      bytes_ += static_cast<char>(pending_);
      pending_ >>= 8;
    }
  }
  /// Huffman codes go highest bit first.
  void put_code(uint32_t code, int bits) {
    uint32_t reversed = 0;
    for (int i = 0; i < bits; ++i) reversed |= (code >> i & 1) << (bits - 1 - i);
    put(reversed, bits);
  }
  std::string finish() {
    if (count_ > 0) bytes_ += static_cast<char>(pending_);
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
  uint64_t pending_ = 0;
  int count_ = 0;
};

void put_symbol(BitWriter& out, uint32_t symbol) {
  if (symbol < 144) {
    out.put_code(0x30 + symbol, 8);
  } else if (symbol < 256) {
    out.put_code(0x190 + symbol - 144, 9);
  } else if (symbol < 280) {
    out.put_code(symbol - 256, 7);
  } else {
    out.put_code(0xC0 + symbol - 280, 8);
  }
}

/// A match of 3 to 258 bytes at a distance of 1 to 4.
void put_match(BitWriter& out, uint32_t length, uint32_t distance) {
  static constexpr uint16_t kBase[] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                       15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                       67, 83, 99, 115, 131, 163, 195, 227, 258};
  static constexpr uint8_t kExtra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                       2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  size_t i = std::size(kBase) - 1;
  while (kBase[i] > length) --i;
  put_symbol(out, static_cast<uint32_t>(257 + i));
  out.put(length - kBase[i], kExtra[i]);
  out.put_code(distance - 1, 5);
}

std::string deflate(std::string_view bytes) {
  BitWriter out;
  out.put(1, 1);  // the last block
  out.put(1, 2);  // fixed codes
  const auto run = [&](size_t at, size_t distance) -> size_t {
    if (at < distance) return 0;
    size_t n = 0;
    while (n < 258 && at + n < bytes.size() && bytes[at + n] == bytes[at + n - distance]) ++n;
    return n;
  };
  for (size_t i = 0; i < bytes.size();) {
    const size_t byte_run = run(i, 1), pixel_run = run(i, 3);
    const size_t length = std::max(byte_run, pixel_run);
    if (length >= 3) {
      put_match(out, static_cast<uint32_t>(length), byte_run >= pixel_run ? 1 : 3);
      i += length;
    } else {
      put_symbol(out, static_cast<uint8_t>(bytes[i]));
      ++i;
    }
  }
  put_symbol(out, 256);
  return out.finish();
}

void put_chunk(std::string& out, std::string_view type, std::string_view data) {
  put_be32(out, static_cast<uint32_t>(data.size()));
  const std::string body = std::string(type).append(data);
  out += body;
  put_be32(out, crc32(std::as_bytes(std::span(body))));
}

}  // namespace

std::string png_file(std::span<const uint8_t> rgb, int64_t width, int64_t height) {
  if (width < 1 || height < 1 || rgb.size() != static_cast<size_t>(width * height * 3)) {
    fail("PNG: expected {} x {} pixels of 3 bytes, found {} bytes", width, height, rgb.size());
  }
  std::string header;
  put_be32(header, static_cast<uint32_t>(width));
  put_be32(header, static_cast<uint32_t>(height));
  header += std::string_view("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB

  // Each row as its difference to the row above: where nothing changes, zeros.
  std::string rows;
  const auto row_bytes = static_cast<size_t>(width * 3);
  rows.reserve((row_bytes + 1) * static_cast<size_t>(height));
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    rows += '\x02';
    for (size_t x = 0; x < row_bytes; ++x) {
      const uint8_t above = y == 0 ? 0 : rgb[(y - 1) * row_bytes + x];
      rows += static_cast<char>(rgb[y * row_bytes + x] - above);
    }
  }
  std::string data = "\x78\x01" + deflate(rows);
  put_be32(data, adler32(rows));

  std::string file("\x89PNG\r\n\x1a\n");
  put_chunk(file, "IHDR", header);
  put_chunk(file, "IDAT", data);
  put_chunk(file, "IEND", "");
  return file;
}

}  // namespace dsv3::plot
