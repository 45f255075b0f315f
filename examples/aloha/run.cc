#include "run.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "aloha.h"
#include "error.h"
#include "result_writer.h"
#include "run_config.h"
#include "text.h"

namespace aloha {

namespace {

volatile std::sig_atomic_t signalReceived = 0;

void rememberSignal(int)
{
    signalReceived = 1;
}

// None for a run without end: one that sets no limit, or a negative one to undo an inherited limit.
std::optional<SimTime> readTimeLimit(const RunConfig &config)
{
    const std::optional<double> seconds = config.seconds("sim-time-limit");
    if (!seconds || *seconds < 0)
        return std::nullopt;
    return fromSeconds(*seconds);
}

StatusDisplay::Clock::duration readStatusInterval(const RunConfig &config)
{
    const std::chrono::duration<double> seconds(config.seconds("cmdenv-status-frequency").value_or(2));
    return std::chrono::duration_cast<StatusDisplay::Clock::duration>(seconds);
}

std::uint64_t readSeed(const RunConfig &config)
{
    int seed = 0;
    if (!parseCount(config.attribute("seedset"), seed))
        throw Error("seed-set: '" + config.attribute("seedset") + "' is not a number");
    return static_cast<std::uint64_t>(seed);
}

// If the directory cannot be made, opening the file will fail, with a better message.
std::string withDirectory(const std::string &fileName)
{
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(fileName).parent_path(), ignored);
    return fileName;
}

// Where a run says how it goes: standard output, or a file of its own.
class Log {
  public:
    void redirectTo(const std::string &fileName)
    {
        file_.open(withDirectory(fileName));
        if (!file_)
            throw Error("Cannot open output redirection file '" + fileName + "'");
        fileName_ = fileName;
    }

    std::ostream &stream() { return isRedirected() ? file_ : std::cout; }
    bool isRedirected() const { return !fileName_.empty(); }

    void reportError(const std::string &message)
    {
        stream() << std::flush;
        if (isRedirected()) {
            file_ << "<!> Error: " << message << std::endl;
            std::cerr << "<!> Error -- see " << fileName_ << " for details" << std::endl;
        }
        else
            std::cerr << "<!> Error: " << message << std::endl;
    }

  private:
    std::string fileName_;
    std::ofstream file_;
};

class Run {
  public:
    Run(const RunConfig &config, BatchPosition batch, bool silent, Log &log)
        : config_(config), batch_(batch), silent_(silent), log_(log), limit_(readTimeLimit(config)),
          statusInterval_(readStatusInterval(config)), seed_(readSeed(config)),
          express_(config.flag("cmdenv-express-mode", true)),
          redirect_(config.flag("cmdenv-redirect-output", false))
    {
        if (const std::string network = config.option("network", "Aloha"); network != "Aloha")
            throw Error("Network '" + network + "' not found");
    }

    Outcome execute()
    {
        announce();
        if (redirect_)
            redirectLog();
        tell("Scenario: " + config_.description() + "\nAssigned runID=" + config_.runId() +
             "\nSetting up network \"Aloha\"...");

        Simulation simulation(seed_);
        const std::string scalarFile = withDirectory(config_.resultFile("output-scalar-file", ".sca"));
        const std::string vectorFile = withDirectory(config_.resultFile("output-vector-file", ".vec"));
        // If this run fails, a scalar file of an earlier one must not look like its result.
        std::filesystem::remove(scalarFile);
        VectorWriter vectors(vectorFile, config_, simulation);
        try {
            return simulate(simulation, vectors, scalarFile);
        }
        catch (const Error &error) {
            log_.reportError(error.what());
            vectors.close();
            return Outcome::Failed;
        }
    }

  private:
    void announce() const
    {
        const std::string &name = config_.attribute("configname");
        const std::string &number = config_.attribute("runnumber");
        if (silent_)
            std::cout << name << " run #" << number << ": " << config_.description()
                      << " (runID: " << config_.runId() << ")" << std::endl;
        else
            std::cout << "\nPreparing for running configuration " << name << ", run #" << number << "..."
                      << std::endl;
    }

    void redirectLog()
    {
        const std::string fileName = config_.resultFile("cmdenv-output-file", ".out");
        if (!silent_)
            std::cout << "Redirecting output to file \"" << fileName << "\"..." << std::endl;
        log_.redirectTo(fileName);
        tell("\nRunning configuration " + config_.attribute("configname") + ", run #" +
             config_.attribute("runnumber") + "...");
    }

    // What Cmdenv keeps to itself with -s.
    void tell(const std::string &message)
    {
        if (!silent_)
            log_.stream() << message << '\n';
    }

    Outcome simulate(Simulation &simulation, VectorWriter &vectors, const std::string &scalarFile)
    {
        AlohaNetwork network(simulation, config_, vectors, log_.stream());
        tell("Initializing...\n\nRunning simulation...");
        executeEvents(simulation);

        const char *reason =
            signalReceived ? "SIGINT or SIGTERM received, exiting" : "Simulation time limit reached";
        log_.stream() << "\n<!> " << reason << " -- at t=" << toString(simulation.now()) << "s, event #"
                      << simulation.eventNumber() << std::endl;

        tell("\nCalling finish() at end of Run #" + config_.attribute("runnumber") + "...");
        ScalarWriter scalars(scalarFile, config_);
        network.finish(scalars);
        scalars.close();
        vectors.close();
        return signalReceived ? Outcome::Interrupted : Outcome::Successful;
    }

    void executeEvents(Simulation &simulation)
    {
        StatusDisplay status(log_.stream(), simulation, limit_, batch_, statusInterval_);
        status.print();
        try {
            while (!signalReceived && (!limit_ || simulation.nextEventTime() <= *limit_)) {
                if (express_)
                    status.printIfDue();
                else
                    status.printNextEvent();
                simulation.executeNextEvent();
            }
            if (!signalReceived)
                simulation.advanceTo(*limit_);
        }
        catch (const Error &) {
            status.print();
            throw;
        }
        status.print();
    }

    const RunConfig &config_;
    const BatchPosition batch_;
    const bool silent_;
    Log &log_;
    const std::optional<SimTime> limit_;
    const StatusDisplay::Clock::duration statusInterval_;
    const std::uint64_t seed_;
    const bool express_;
    const bool redirect_;
};

}  // namespace

void catchSignals()
{
    std::signal(SIGINT, rememberSignal);
    std::signal(SIGTERM, rememberSignal);
}

Outcome executeRun(const Configuration &configuration, int number, BatchPosition batch, bool silent)
{
    Log log;
    try {
        const RunConfig config = configuration.run(number);
        return Run(config, batch, silent, log).execute();
    }
    catch (const std::exception &error) {
        log.reportError(error.what());
        return Outcome::Failed;
    }
}

}  // namespace aloha
