// Writes result files in the text format of OMNeT++ (version 3), which its tools can read.

#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "run_config.h"
#include "simulation.h"

namespace aloha {

using Attributes = std::map<std::string, std::string>;

// The .vec file, and the .vci file that tells where in it the data of each vector are.
class VectorWriter {
  public:
    VectorWriter(const std::string &vectorFile, const RunConfig &run, const Simulation &simulation);

    // Returns the id of the new vector.
    int addVector(const std::string &module, const std::string &name, const Attributes &attributes);

    void record(int vectorId, double value);

    // Including what is still in memory.
    std::uint64_t size() const { return fileSize_ + bufferedSize_; }

    // Completes both files. They are worth reading after a failed run, too.
    void close();

  private:
    // The data of one vector that have not been written yet, with what the index says about them.
    struct Block {
        std::string text;
        std::uint64_t firstEvent = 0;
        std::uint64_t lastEvent = 0;
        SimTime firstTime{0};
        SimTime lastTime{0};
        std::uint64_t count = 0;
        double min = 0;
        double max = 0;
        double sum = 0;
        double squareSum = 0;
    };

    void appendLine(std::string &text, int vectorId, double value) const;
    void addToSummary(Block &block, double value) const;
    void writeBlock(int vectorId);
    void writeToBoth(const std::string &vectorText, const std::string &indexText);

    const Simulation &simulation_;
    const std::string vectorFileName_;
    const std::string indexFileName_;
    std::ofstream vectorFile_;
    std::ofstream indexFile_;
    std::uint64_t fileSize_ = 0;
    std::uint64_t bufferedSize_ = 0;
    std::vector<Block> blocks_;  // by vector id
};

// How often each of the numbers 0, 1, 2, ... was collected.
class Histogram {
  public:
    void collect(size_t number);
    const std::vector<std::uint64_t> &counts() const { return counts_; }

  private:
    std::vector<std::uint64_t> counts_;
};

// The .sca file. As with OMNeT++, only a run that ends without an error has one.
class ScalarWriter {
  public:
    ScalarWriter(const std::string &scalarFile, const RunConfig &run);

    void parameter(const std::string &module, const std::string &name, const std::string &value);
    void scalar(const std::string &module, const std::string &name, double value, const std::string &title);
    void histogram(const std::string &module, const std::string &name, const Histogram &histogram,
                   const std::string &title);
    void close();

  private:
    void writeFields(const Histogram &histogram);

    const std::string fileName_;
    std::ofstream file_;
};

}  // namespace aloha
