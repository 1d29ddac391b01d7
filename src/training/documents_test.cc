#include "training/documents.h"

#include <gtest/gtest.h>

#include "checkpoint/test_files.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

class DocumentsTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, std::string_view bytes) const {
    fs::create_directories((folder_ / name).parent_path());
    write_bytes(folder_ / name, bytes);
    return folder_ / name;
  }
  Texts read(const std::vector<fs::path>& inputs, const DocumentOptions& options = {}) const {
    DocumentReader reader(inputs, options);
    Texts texts;
    for (RawDocument raw; reader.next(raw);) {
      texts.push_back(document_text(std::move(raw), options.field));
    }
    EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
    return texts;
  }
  TemporaryFolder folder_;
};

TEST_F(DocumentsTest, WithoutSeparatorAFileIsADocumentAsItIs) {
  EXPECT_EQ(read({write("a.txt", "one\n\ntwo\r\n"), write("b.txt", "three"), write("c.txt", "")}),
            (Texts{"one\n\ntwo\r\n", "three", ""}));
}

TEST_F(DocumentsTest, SeparatorsAreLinesOfTheirOwn) {
  const DocumentOptions options = {.separator = "<|endoftext|>"};
  const auto split = [&](std::string_view text) { return read({write("a.txt", text)}, options); };
  EXPECT_EQ(split("a\nb\n<|endoftext|>\nc\n<|endoftext|>\n"), (Texts{"a\nb", "c"}));
  EXPECT_EQ(split("a\n<|endoftext|>\nb\n"), (Texts{"a", "b"})) << "the end of the file ends one";
  EXPECT_EQ(split("a\n<|endoftext|>\nb"), (Texts{"a", "b"}));
  EXPECT_EQ(split("a\n<|endoftext|>"), (Texts{"a"}));
  EXPECT_EQ(split("a\r\nb\r\n<|endoftext|>\r\nc"), (Texts{"a\r\nb", "c"}));
  EXPECT_EQ(split("a\n\n<|endoftext|>\n"), (Texts{"a\n"})) << "only one line end goes";
  EXPECT_EQ(split("a <|endoftext|>\n <|endoftext|>\nb"),
            (Texts{"a <|endoftext|>\n <|endoftext|>\nb"}));
  EXPECT_EQ(split("<|endoftext|>\n<|endoftext|>\na"), (Texts{"", "", "a"}));
  EXPECT_EQ(split(""), (Texts{""}));
  EXPECT_EQ(split("\xEF\xBB\xBF<|endoftext|>\na"), (Texts{"", "a"})) << "after a byte order mark";
}

TEST_F(DocumentsTest, LinesLongerThanTheBufferAreWhole) {
  const std::string line(3'000'000, 'x');
  EXPECT_EQ(read({write("a.txt", line + "\n--\n" + line)}, {.separator = "--"}),
            (Texts{line, line}));
  EXPECT_EQ(read({write("a.jsonl", R"({"text": ")" + line + "\"}\n")}), (Texts{line}));
}

TEST_F(DocumentsTest, JsonLinesGiveAField) {
  const auto path = write("a.jsonl",
                          "\xEF\xBB\xBF{\"text\": \"a\\nb\", \"content\": \"x\"}\n"
                          "  \r\n"
                          "{\"content\": \"\\u00e9\", \"text\": \"\"}");
  EXPECT_EQ(read({path}), (Texts{"a\nb", ""}));
  EXPECT_EQ(read({path}, {.field = "content"}), (Texts{"x", "é"}));
  EXPECT_EQ(read({write("a.data", R"({"text": "z"})")}, {.json_lines = true}), (Texts{"z"}));
}

TEST_F(DocumentsTest, FoldersAreTheirFilesByPath) {
  write("in/b.txt", "b");
  write("in/a/z.jsonl", R"({"text": "z"})");
  write("in/a/readme.md", "m");
  write("in/image.png", "no text");
  EXPECT_EQ(read({folder_ / "in", write("last.png", "but asked for")}),
            (Texts{"m", "z", "b", "but asked for"}));
}

TEST_F(DocumentsTest, ErrorsNameFileAndLine) {
  const auto expect_refused = [&](const std::string& name, std::string_view bytes,
                                  std::initializer_list<const char*> parts) {
    const auto path = write(name, bytes);
    expect_error([&] { read({path}, {.separator = "--"}); }, parts);
  };
  expect_refused("a.txt", "good\n--\ngood\nx \xFF", {"a.txt:4: not valid UTF-8: byte ff after 2"});
  expect_refused("a.txt", "good\xC3", {"a.txt:1: not valid UTF-8: byte c3 after 4"});
  expect_refused("a.jsonl", "{\"text\": \"\"}\n{\"text\": \n", {"a.jsonl:2: not valid JSON"});
  expect_refused("a.jsonl", "{\"text\": \"\xC0\"}\n", {"a.jsonl:1: not valid UTF-8: byte c0"});
  expect_refused("a.jsonl", "\n\n[1]\n", {"a.jsonl:3: expected an object, found array"});
  expect_refused("a.jsonl", "{\"texts\": 1}\n", {"a.jsonl:1: the object has no field 'text'"});
  expect_refused("a.jsonl", "{\"text\": 1}\n",
                 {"a.jsonl:1: text: expected a string, found number"});
  expect_refused("a.jsonl", R"({"text": "\ud800"})", {"a.jsonl:1: not valid JSON"});
  expect_error([&] { read({folder_ / "absent.txt"}); }, {"absent.txt: there is no such file"});
  fs::create_directories(folder_ / "empty");
  expect_error([&] { read({folder_ / "empty"}); }, {"empty: no *.txt"});
}

TEST_F(DocumentsTest, TooLongADocumentIsRefused) {
  DocumentReader reader({write("a.txt", "12345\n67890\n--\n")}, {.separator = "--"}, 10);
  RawDocument raw;
  expect_error([&] { reader.next(raw); },
               {"a.txt:2", "more than 10 bytes", "--document-separator"});
}

}  // namespace
}  // namespace dsv3::training
