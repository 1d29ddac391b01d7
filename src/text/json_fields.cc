#include "text/json_fields.h"

namespace dsv3 {
namespace {

[[noreturn]] void wrong_type(const Json* found, std::string_view name, std::string_view expected,
                             const std::string& where) {
  fail("{}: field '{}' is {}, expected {}", where, name, found ? found->type_name() : "absent",
       expected);
}

}  // namespace

const Json* find_field(const Json& object, std::string_view name, const std::string& where) {
  if (!object.is_object()) fail("{}: is {}, expected an object", where, object.type_name());
  const auto field = object.find(name);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

bool bool_field(const Json& object, std::string_view name, bool absent, const std::string& where) {
  const Json* field = find_field(object, name, where);
  if (!field) return absent;
  if (!field->is_boolean()) wrong_type(field, name, "true or false", where);
  return field->get<bool>();
}

std::string string_field(const Json& object, std::string_view name, const std::string& where) {
  const Json* field = find_field(object, name, where);
  if (!field || !field->is_string()) wrong_type(field, name, "a string", where);
  return field->get<std::string>();
}

int64_t integer_field(const Json& object, std::string_view name, const std::string& where) {
  const Json* field = find_field(object, name, where);
  if (!field || !field->is_number_integer()) wrong_type(field, name, "an integer", where);
  // Larger than int64: any id check refuses the largest one too.
  if (field->is_number_unsigned() && field->get<uint64_t>() > INT64_MAX) return INT64_MAX;
  return field->get<int64_t>();
}

const Json& array_field(const Json& object, std::string_view name, const std::string& where) {
  const Json* field = find_field(object, name, where);
  if (!field || !field->is_array()) wrong_type(field, name, "an array", where);
  return *field;
}

}  // namespace dsv3
