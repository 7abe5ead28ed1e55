-- The signature of the component, as text; NULL if it was registered without one.
ALTER TABLE policy_component ADD COLUMN signature TEXT NULL;
