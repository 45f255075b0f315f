// Reads ini files: [Config NAME] sections of "key = value" lines, with # comments.

#pragma once

#include <string>
#include <vector>

namespace aloha {

struct Entry {
    std::string key;
    std::string value;
};

using Entries = std::vector<Entry>;

struct Section {
    std::string name;  // without the "Config " that may precede it in the file
    Entries entries;
};

class IniFile {
  public:
    // Reading several files is like reading one that contains them all.
    void read(const std::string &path);

    // Null if there is no such section.
    const Section *find(const std::string &name) const;

    const std::vector<Section> &sections() const { return sections_; }

  private:
    Section &findOrAdd(const std::string &name);

    std::vector<Section> sections_;
};

}  // namespace aloha
