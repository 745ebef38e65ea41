//! Settings that are being put together: by typed setters, by name, from files, from the environment.

use super::find::Found;
use super::value::Value;
use super::{Config, ConfigError, Definition, Scope, Standing, properties};

/// Settings that are being put together. What is set later replaces what was set before.
///
/// The first mistake is kept until somebody asks for the result, so that builders can be chained.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    config: Config,
    notices: Vec<String>,
    error: Option<ConfigError>,
}

impl Draft {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { config: Config::new(scope), notices: Vec::new(), error: None }
    }

    /// Begins with what was set before.
    pub(crate) fn edit(config: Config) -> Self {
        Self { config, notices: Vec::new(), error: None }
    }

    /// What was set so far.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Sets a value by the exact name of its setting.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let set = match self.config.scope().definition(name) {
            Some(definition) => definition.check(value.into()).map(|value| (definition, value)),
            None => Err(self.config.scope().unknown(name)),
        };
        match set {
            Ok((definition, value)) => self.config.insert(definition, value),
            Err(error) => self.fail(error),
        }
    }

    /// Gives a setting its default.
    pub(crate) fn unset(&mut self, name: &str) {
        self.config.remove(name);
    }

    /// Sets a value by name, alias or pattern, from text.
    pub(crate) fn set_text(&mut self, name: &str, text: &str) {
        if let Err(error) = self.try_set_text(name, text) {
            self.fail(error);
        }
    }

    fn try_set_text(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let definition = match self.config.scope().find(name)? {
            Found::Setting(definition) => definition,
            Found::Alias(definition) => {
                self.note(format!("{name} is taken for {}", definition.name));
                definition
            }
            Found::NoMeaning => {
                self.note(format!("{name} is ignored: it has no meaning within one process"));
                return Ok(());
            }
        };
        let value = definition.parse(text)?;
        self.note_standing(definition, &value)?;
        self.config.insert(definition, value);
        Ok(())
    }

    /// Says so if a value other than the default comes to nothing.
    fn note_standing(&mut self, definition: &Definition, value: &Value) -> Result<(), ConfigError> {
        let why = match definition.standing {
            Standing::NotYet if definition.default_value()?.as_ref() != Some(value) => {
                "has no effect yet: what it governs is not built"
            }
            Standing::NoMeaning => "is ignored: it has no meaning within one process",
            _ => return Ok(()),
        };
        self.note(format!("{} {why}", definition.name));
        Ok(())
    }

    /// Sets all that the text of a `.properties` file says. `place` names it in messages.
    pub(crate) fn properties(&mut self, place: &str, text: &str) {
        match properties::parse(text) {
            Err(error) => self.fail(error.at(place)),
            Ok(properties) => {
                for property in properties {
                    if let Err(error) = self.try_set_text(&property.key, &property.value) {
                        self.fail(error.at(format!("{place}, line {}", property.line)));
                    }
                }
            }
        }
    }

    /// Sets a value that came in an environment variable.
    pub(crate) fn variable(&mut self, variable: &str, name: &str, text: &str) {
        if let Err(error) = self.try_set_text(name, text) {
            self.fail(error.at(variable));
        }
    }

    fn note(&mut self, notice: String) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Remembers a mistake, if it is the first.
    pub(crate) fn fail(&mut self, error: ConfigError) {
        self.error.get_or_insert(error);
    }

    /// What whoever made the settings should know.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The settings, or the first mistake.
    pub(crate) fn finish(self) -> Result<Config, ConfigError> {
        self.error.map_or(Ok(self.config), Err)
    }
}
