#include <array>
#include <cstdlib>

#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // of Jinja's sandbox

Value range(Runtime& runtime, const Value&, Arguments& arguments) {
  if (!arguments.named.empty()) raise("range() takes no keyword arguments");
  const size_t n = arguments.positional.size();
  if (n < 1 || n > 3) raise("range expected 1 to 3 arguments, got {}", n);
  std::array<int64_t, 3> v{};
  for (size_t i = 0; i < n; ++i)
    v[i] = require_integer(arguments.positional[i], "argument of range()");
  const int64_t start = n == 1 ? 0 : v[0], stop = n == 1 ? v[0] : v[1], step = n == 3 ? v[2] : 1;
  if (step == 0) raise("range() arg 3 must not be zero");
  // Unsigned: the distance of two integers may not fit a signed one.
  const bool up = step > 0;
  const bool empty = up ? start >= stop : start <= stop;
  const uint64_t distance = up ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                               : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t by = up ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t length = empty ? 0 : (distance - 1) / by + 1;
  if (length > kMaxRange) {
    raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  }
  return make_object<Range>(runtime.meter, start, stop, step, static_cast<int64_t>(length));
}

// Fills a dict or namespace as Python's dict(...) does.
template <typename Set>
void fill(Runtime& runtime, Arguments& arguments, std::string_view function, Set set) {
  if (arguments.positional.size() > 1) {
    raise("{} expected at most 1 argument, got {}", function, arguments.positional.size());
  }
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is(Kind::kDict)) {
      for (const auto& [key, value] : from.dict().items) set(key, value);
    } else {
      for (const Value& item : Items(runtime, from)) {
        const Items pair(runtime, item);
        if (pair.size() != 2)
          raise("dictionary update sequence element has length {}; 2 is required", pair.size());
        set(pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) set(runtime.string(name), value);
}

Value dict(Runtime& runtime, const Value&, Arguments& arguments) {
  Ref<Dict> out(new Dict(&runtime.meter));
  fill(runtime, arguments, "dict",
       [&](const Value& key, const Value& value) { out->set(key, value, runtime.meter); });
  return Value(Kind::kDict, out.get());
}

Value make_namespace(Runtime& runtime, const Value&, Arguments& arguments) {
  Value out = make_object<Namespace>(runtime.meter);
  runtime.keep(out);
  fill(runtime, arguments, "namespace", [&](const Value& key, const Value& value) {
    static_cast<Namespace&>(out.native()).set(key, value);
  });
  return out;
}

class Cycler : public NativeObject {
 public:
  Cycler(Meter& meter, const Value& items) : NativeObject(&meter, sizeof(*this)), items_(items) {
    holds(items);
  }
  std::string_view type_name() const override { return "Cycler"; }
  bool truth() const override { return true; }
  bool attribute(Runtime& runtime, std::string_view name, Value& out) override {
    const Value self(Kind::kObject, this);
    if (name == "current")
      out = items_.sequence().items[at_];
    else if (name == "next")
      out = make_object<Function>(&runtime.meter, "next", &Cycler::next, self);
    else if (name == "reset")
      out = make_object<Function>(&runtime.meter, "reset", &Cycler::reset, self);
    else
      return false;
    return true;
  }

 private:
  static Value next(Runtime&, const Value& self, Arguments&) {
    auto& cycler = static_cast<Cycler&>(self.native());
    const auto& items = cycler.items_.sequence().items;
    const size_t at = std::exchange(cycler.at_, (cycler.at_ + 1) % items.size());
    return items[at];
  }
  static Value reset(Runtime&, const Value& self, Arguments&) {
    static_cast<Cycler&>(self.native()).at_ = 0;
    return Value::none();
  }
  Value items_;
  size_t at_ = 0;
};

Value cycler(Runtime& runtime, const Value&, Arguments& arguments) {
  if (!arguments.named.empty()) raise("cycler() takes no keyword arguments");
  if (arguments.positional.empty()) raise("at least one item has to be provided");
  return make_object<Cycler>(runtime.meter, runtime.tuple(arguments.positional));
}

class Joiner : public NativeObject {
 public:
  Joiner(Meter& meter, const Value& separator)
      : NativeObject(&meter, sizeof(*this)), separator_(separator) {
    holds(separator);
  }
  std::string_view type_name() const override { return "Joiner"; }
  bool truth() const override { return true; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments&) override {
    return std::exchange(used_, true) ? separator_ : runtime.string("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value joiner(Runtime& runtime, const Value&, Arguments& arguments) {
  const std::vector<Value> args = bind_arguments("joiner", arguments, {"sep"});
  return make_object<Joiner>(runtime.meter, args[0].is_missing() ? runtime.string(", ") : args[0]);
}

Value raise_exception(Runtime& runtime, const Value&, Arguments& arguments) {
  const std::vector<Value> args = bind_arguments("raise_exception", arguments, {"message"}, 1);
  throw Failure{to_text(runtime, args[0]), true};
}

Value lipsum(Runtime&, const Value&, Arguments&) { raise("lipsum() is random, and not supported"); }

// Python's strftime in the C locale.
Value strftime_now(Runtime& runtime, const Value&, Arguments& arguments) {
  const std::vector<Value> args = bind_arguments("strftime_now", arguments, {"format"}, 1);
  const std::string& format = require_string(args[0], "format of strftime_now()");
  static constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                                 "May",       "June",     "July",     "August",
                                                 "September", "October",  "November", "December"};
  static constexpr std::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                               "Thursday", "Friday", "Saturday"};
  const std::tm t = runtime.local_time();
  const auto month = kMonths[static_cast<size_t>(t.tm_mon) % 12];
  const auto day = kDays[static_cast<size_t>(t.tm_wday) % 7];
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  const int year = t.tm_year + 1900;
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    bool padded = true;
    if (format[i + 1] == '-' && i + 2 < format.size()) {
      padded = false;
      ++i;
    }
    const auto number = [&](int v, int width) {
      out += padded ? fmt::format("{:0{}}", v, width) : fmt::format("{}", v);
    };
    switch (const char c = format[++i]) {
      case 'Y':
        out += fmt::format("{}", year);
        break;
      case 'y':
        number(year % 100, 2);
        break;
      case 'C':
        number(year / 100, 2);
        break;
      case 'm':
        number(t.tm_mon + 1, 2);
        break;
      case 'd':
        number(t.tm_mday, 2);
        break;
      case 'e':
        out += padded ? fmt::format("{:2}", t.tm_mday) : fmt::format("{}", t.tm_mday);
        break;
      case 'H':
        number(t.tm_hour, 2);
        break;
      case 'I':
        number(hour12, 2);
        break;
      case 'M':
        number(t.tm_min, 2);
        break;
      case 'S':
        number(t.tm_sec, 2);
        break;
      case 'f':
        out += "000000";
        break;
      case 'j':
        number(t.tm_yday + 1, 3);
        break;
      case 'w':
        out += fmt::format("{}", t.tm_wday);
        break;
      case 'u':
        out += fmt::format("{}", t.tm_wday == 0 ? 7 : t.tm_wday);
        break;
      case 'U':
        number((t.tm_yday + 7 - t.tm_wday) / 7, 2);
        break;
      case 'W':
        number((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2);
        break;
      case 'b':
      case 'h':
        out += month.substr(0, 3);
        break;
      case 'B':
        out += month;
        break;
      case 'a':
        out += day.substr(0, 3);
        break;
      case 'A':
        out += day;
        break;
      case 'p':
        out += t.tm_hour < 12 ? "AM" : "PM";
        break;
      case 'D':
      case 'x':
        out += fmt::format("{:02}/{:02}/{:02}", t.tm_mon + 1, t.tm_mday, year % 100);
        break;
      case 'F':
        out += fmt::format("{}-{:02}-{:02}", year, t.tm_mon + 1, t.tm_mday);
        break;
      case 'T':
      case 'X':
        out += fmt::format("{:02}:{:02}:{:02}", t.tm_hour, t.tm_min, t.tm_sec);
        break;
      case 'R':
        out += fmt::format("{:02}:{:02}", t.tm_hour, t.tm_min);
        break;
      case 'c':
        out += fmt::format("{} {} {:2} {:02}:{:02}:{:02} {}", day.substr(0, 3), month.substr(0, 3),
                           t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, year);
        break;
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'z':
      case 'Z':
        break;  // a time without zone
      case '%':
        out += '%';
        break;
      default:
        out += '%';
        out += c;
    }
    runtime.meter.check_string(out.size());
  }
  return runtime.string(std::move(out));
}

template <Function::Body body>
Value global(std::string_view name) {
  static const Value function = make_object<Function>(nullptr, name, body);
  return function;
}

}  // namespace

Value find_global(std::string_view name) {
  if (name == "range") return global<range>("range");
  if (name == "dict") return global<dict>("dict");
  if (name == "namespace") return global<make_namespace>("namespace");
  if (name == "cycler") return global<cycler>("cycler");
  if (name == "joiner") return global<joiner>("joiner");
  if (name == "lipsum") return global<lipsum>("lipsum");
  if (name == "raise_exception") return global<raise_exception>("raise_exception");
  if (name == "strftime_now") return global<strftime_now>("strftime_now");
  return Value();
}

}  // namespace dsv3::jinja
