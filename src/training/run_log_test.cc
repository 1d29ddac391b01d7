#include "training/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "dsv3/error.h"
#include "training/test_folder.h"

namespace dsv3::training {
namespace {

// ---- a reader of event files, independent of the writer: CRC bit by bit, fields by their numbers

uint32_t slow_crc32c(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) * 0x82F63B78u);
  }
  return ~crc;
}

uint32_t unmasked(uint32_t crc) {
  const uint32_t rotated = crc - 0xA282EAD8u;
  return rotated >> 17 | rotated << 15;
}

struct Field {
  uint64_t number = 0, integer = 0;
  std::string bytes;
};

std::vector<Field> fields_of(const std::string& message) {
  std::vector<Field> fields;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(message.at(at++));
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    Field field{.number = key / 8};
    size_t size = 0;
    switch (key % 8) {
      case 0:
        field.integer = varint();
        break;
      case 1:
        size = 8;
        break;
      case 2:
        size = varint();
        break;
      case 5:
        size = 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << key % 8;
        return fields;
    }
    EXPECT_LE(at + size, message.size());
    field.bytes = message.substr(at, size);
    at += size;
    fields.push_back(field);
  }
  return fields;
}

const Field* field(const std::vector<Field>& fields, uint64_t number) {
  for (const Field& f : fields) {
    if (f.number == number) return &f;
  }
  return nullptr;
}

std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    uint64_t length = 0;
    uint32_t header_crc = 0, crc = 0;
    std::memcpy(&length, file.data() + at, 8);
    std::memcpy(&header_crc, file.data() + at + 8, 4);
    EXPECT_EQ(unmasked(header_crc), slow_crc32c(file.substr(at, 8)));
    records.push_back(file.substr(at + 12, length));
    std::memcpy(&crc, file.data() + at + 12 + length, 4);
    EXPECT_EQ(unmasked(crc), slow_crc32c(records.back()));
    at += length + 16;
  }
  return records;
}

TEST(EventFileTest, ChecksumIsCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);  // RFC 3720, B.4, and the check value
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventFileTest, RecordsAreTensorBoardsEvents) {
  const TestFolder folder;
  std::string text;
  {
    EventFile events(folder.path(), 301);
    const std::pair<std::string, double> scalars[] = {{"loss/train", 2.5}, {"lr", 1e-3}};
    events.add_scalars(300, scalars);
    events.add_text(-1, "sample/1", "Es war \xC3\xA4");
    EXPECT_NE(events.path().filename().string().find(".tfevents."), std::string::npos);
    text = read_file(events.path());
  }
  const std::vector<std::string> records = records_of(text);
  ASSERT_EQ(records.size(), 4u);

  const auto version = fields_of(records[0]);
  ASSERT_NE(field(version, 3), nullptr);
  EXPECT_EQ(field(version, 3)->bytes, "brain.Event:2");
  double wall_time = 0;
  ASSERT_EQ(field(version, 1)->bytes.size(), 8u);
  std::memcpy(&wall_time, field(version, 1)->bytes.data(), 8);
  EXPECT_GT(wall_time, 1.6e9);

  const auto start = fields_of(records[1]);
  EXPECT_EQ(field(start, 2)->integer, 301u);
  EXPECT_EQ(field(fields_of(field(start, 7)->bytes), 1)->integer, 1u);

  const auto scalars = fields_of(records[2]);
  EXPECT_EQ(field(scalars, 2)->integer, 300u);
  const auto values = fields_of(field(scalars, 5)->bytes);
  ASSERT_EQ(values.size(), 2u);
  const auto first = fields_of(values[0].bytes);
  EXPECT_EQ(field(first, 1)->bytes, "loss/train");
  float number = 0;
  std::memcpy(&number, field(first, 2)->bytes.data(), 4);
  EXPECT_EQ(number, 2.5f);

  const auto sample = fields_of(records[3]);
  EXPECT_EQ(static_cast<int64_t>(field(sample, 2)->integer), -1);  // ten bytes of varint
  const auto value = fields_of(fields_of(field(sample, 5)->bytes)[0].bytes);
  EXPECT_EQ(field(value, 1)->bytes, "sample/1");
  const auto tensor = fields_of(field(value, 8)->bytes);
  EXPECT_EQ(field(tensor, 1)->integer, 7u);
  EXPECT_EQ(field(tensor, 8)->bytes, "Es war \xC3\xA4");
  const auto plugin = fields_of(field(fields_of(field(value, 9)->bytes), 1)->bytes);
  EXPECT_EQ(field(plugin, 1)->bytes, "text");
}

// ---- lines

void append(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app) << text;
}

TEST(StepLinesTest, LaterStepsAndTornLinesAreCutOff) {
  const TestFolder folder;
  const auto path = folder / "a.csv";
  { StepLines(path, "step,x", 0).add("1,0.5"); }
  EXPECT_EQ(read_file(path), "step,x\n1,0.5\n");
  append(path, "2,0.25\n10,7\n11,1");
  { const StepLines lines(path, "step,x", 10); }
  EXPECT_EQ(read_file(path), "step,x\n1,0.5\n2,0.25\n10,7\n");
  { const StepLines lines(path, "step,x", 2); }
  EXPECT_EQ(read_file(path), "step,x\n1,0.5\n2,0.25\n");
  { const StepLines lines(path, "step,x", 0); }
  EXPECT_EQ(read_file(path), "step,x\n");

  append(folder / "torn.csv", "ste");  // killed while the header was written
  { StepLines(folder / "torn.csv", "step,x", 5).add("6,1"); }
  EXPECT_EQ(read_file(folder / "torn.csv"), "step,x\n6,1\n");

  append(folder / "b.jsonl", "{\"step\":3,\"x\":9}\n{\"step\":4}\n");
  { const StepLines lines(folder / "b.jsonl", "", 3); }
  EXPECT_EQ(read_file(folder / "b.jsonl"), "{\"step\":3,\"x\":9}\n");
}

TEST(StepLinesTest, AnotherFileIsNotHarmed) {
  const TestFolder folder;
  append(folder / "a.csv", "somebody,else\n1,2\n");
  EXPECT_THROW(StepLines(folder / "a.csv", "step,x", 0), Error);
  EXPECT_EQ(read_file(folder / "a.csv"), "somebody,else\n1,2\n");
  EXPECT_THROW(StepLines(folder / "no" / "a.csv", "step,x", 0), Error);
}

StepRecord record(int64_t step) {
  StepRecord r;
  r.step = step;
  r.tokens = step * 512;
  r.windows = 2;
  r.settings = {.learning_rate = 0.001, .bias_update_speed = 0.5, .mtp_loss_weight = 0.3};
  r.report.loss = 1.0 / 3;
  r.report.mtp_losses = {0.75};
  r.report.grad_norm = 2;
  r.report.expert_load = {{1, 3}, {2, 2}};
  r.report.moe_layers = {1, 6};
  r.seconds = 0.5;
  r.tokens_per_second = 1024;
  return r;
}

TEST(RunLogTest, FilesReadBack) {
  const TestFolder folder;
  {
    RunLog log(folder.path(), 0, 1, {1, 6});
    log.add_step(record(1), false);
    StepRecord bad = record(2);
    bad.report.loss = std::numeric_limits<double>::quiet_NaN();
    bad.report.expert_load.clear();
    bad.skipped = true;
    log.add_step(bad, true);
    log.add_step(record(3), true);
    log.add_validation(3, 1536, {.loss = 2, .mtp_losses = {3}, .tokens = 10});
    log.add_sample(3, 1, "Once", " upon\n\"a\" time");
    log.sync();
  }
  const auto columns = read_csv(folder / "metrics.csv");
  std::string names;
  for (const Column& c : columns) names += c.name + " ";
  EXPECT_EQ(
      names,
      "step tokens windows loss balance_loss mtp_loss_1 learning_rate bias_update_speed "
      "mtp_loss_weight grad_norm skipped max_violation_1 max_violation_6 tokens_per_second mfu "
      "seconds ");
  EXPECT_EQ(columns[0].values, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(columns[3].values[0], 1.0 / 3);  // to the last bit
  EXPECT_TRUE(std::isnan(columns[3].values[1]));
  EXPECT_EQ(columns[10].values, (std::vector<double>{0, 1, 0}));
  EXPECT_EQ(columns[11].values[0], 0.5);
  EXPECT_TRUE(std::isnan(columns[11].values[1]));
  EXPECT_EQ(columns[13].values[2], 1024);
  const auto loads = read_expert_loads(folder / "expert_load.jsonl");
  ASSERT_EQ(loads.size(), 1u);
  EXPECT_EQ(loads[0].step, 3);
  EXPECT_EQ(loads[0].layers, (std::vector<int64_t>{1, 6}));
  EXPECT_EQ(loads[0].loads, (std::vector<std::vector<int64_t>>{{1, 3}, {2, 2}}));
  EXPECT_EQ(read_file(folder / "validation.csv"), "step,tokens,loss,mtp_loss_1\n3,1536,2,3\n");
  EXPECT_EQ(read_file(folder / "samples.jsonl"),
            "{\"step\":3,\"prompt\":\"Once\",\"text\":\" upon\\n\\\"a\\\" time\"}\n");
}

TEST(RunLogTest, AResumedRunsFilesAreThoseOfAnUndisturbedOne) {
  const TestFolder once, twice;
  const auto steps = [](RunLog& log, int64_t from, int64_t to) {
    for (int64_t step = from; step <= to; ++step) {
      log.add_step(record(step), step % 2 == 0);
      if (step % 3 == 0)
        log.add_validation(step, step, {.loss = 1.0 / double(step), .mtp_losses = {2}});
      if (step % 4 == 0) log.add_sample(step, 1, "a", std::to_string(step));
    }
  };
  {
    RunLog log(once.path(), 0, 1, {1, 6});
    steps(log, 1, 20);
  }
  {
    RunLog log(twice.path(), 0, 1, {1, 6});
    steps(log, 1, 13);
  }
  {
    RunLog log(twice.path(), 5, 1, {1, 6});
    steps(log, 6, 20);
  }
  for (const char* name : {"metrics.csv", "validation.csv", "expert_load.jsonl", "samples.jsonl"})
    EXPECT_EQ(read_file(once / name), read_file(twice / name)) << name;
}

TEST(RunLogTest, DamagedFilesAreRefusedWithTheirLine) {
  const TestFolder folder;
  append(folder / "m.csv", "step,loss\n1,2\n2\n");
  append(folder / "empty.csv", "");
  append(folder / "e.jsonl", "{\"step\":1,\"layers\":{}}\n{\"step\":2}\n");
  const auto message = [](auto&& read) -> std::string {
    try {
      read();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(
      message([&] { read_csv(folder / "m.csv"); }).find("m.csv: line 3: expected 2 cells, found 1"),
      std::string::npos);
  EXPECT_NE(message([&] { read_csv(folder / "empty.csv"); }).find("expected a header"),
            std::string::npos);
  EXPECT_NE(message([&] { read_expert_loads(folder / "e.jsonl"); }).find("e.jsonl: line 2"),
            std::string::npos);
}

}  // namespace
}  // namespace dsv3::training
